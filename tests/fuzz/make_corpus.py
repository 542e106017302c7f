#!/usr/bin/python3
"""Writes tests/fuzz/corpus, the inputs that fuzzing begins with; needs Debian's python3-numpy, python3-onnx and
python3-pil."""
import gzip
import io
import json
import pathlib
import struct
import zipfile

import numpy
import onnx
from onnx import helper, numpy_helper
from PIL import Image

root = pathlib.Path(__file__).parent / "corpus"


def put(reader, name, data):
    folder = root / reader
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def saved(save, *arguments, **options):
    buffer = io.BytesIO()
    save(buffer, *arguments, **options)
    return buffer.getvalue()


def safetensors(tensors, metadata=None):
    """The header and the data of tensors {name: (dtype, array)}."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, array) in tensors.items():
        raw = array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return json.dumps(header, separators=(",", ":")).encode(), data


f32, f64, i64 = numpy.float32, numpy.float64, numpy.int64
numbers = {"F64": f64, "F32": f32, "F16": numpy.float16, "I64": i64, "I32": numpy.int32, "U8": numpy.uint8}
some = {name: (name, numpy.arange(2, dtype=kind)) for name, kind in numbers.items()}
header, data = safetensors(some, {"format": "pt", "a": "b"})
put("safetensors", "types", header + b"\0" + data)
put("safetensors", "whole_file", struct.pack("<Q", len(header)) + header + data)
others = {name: (name, numpy.zeros(2, kind)) for name, kind in
          {"C64": numpy.complex64, "U64": numpy.uint64, "BF16": numpy.uint16, "F8_E4M3": numpy.uint8,
           "F8_E8M0": numpy.uint8, "BOOL": numpy.uint8}.items()}
put("safetensors", "other_types", b"\0".join(safetensors(others)))
shapes = {"0": ("F32", numpy.zeros((), f32)), "e": ("F32", numpy.zeros((2, 0, 3), f32)),
          "6": ("F32", numpy.zeros((1, 2, 1, 1, 1, 1), f32)), "\u00e9\"\\": ("I64", numpy.zeros(1, i64))}
put("safetensors", "shapes", b"\0".join(safetensors(shapes)))

parameters = {"weight": numpy.ones((2, 2), f32), "bias": numpy.ones(2, f32)}
for name, steps in {"new": 0, "trained": 3}.items():
    run = {"model." + key: ("F32", value) for key, value in parameters.items()}
    run["optimizer.lr"] = ("F64", numpy.full(1, 0.001))
    for key, value in parameters.items():
        run[f"optimizer.{key}.step"] = ("I64", numpy.array(steps, i64))
        if steps:
            run[f"optimizer.{key}.exp_avg"] = ("F32", value)
            run[f"optimizer.{key}.exp_avg_sq"] = ("F32", value)
            run["best." + key] = ("F32", value)
    run["schedule.steps"] = ("I64", numpy.array(steps, i64))
    run["schedule.base_lr"] = ("F64", numpy.full(1, 0.001))
    for key, value in {"epoch": steps, "best_epoch": steps, "stopped_early": 0}.items():
        run["fit." + key] = ("I64", numpy.full(1, value, i64))
    run["fit.best"] = ("F64", numpy.full(1, 0.5))
    run["fit.random"] = ("I64", numpy.array([1, 2], i64))
    run["fit.loader_seed"] = ("I64", numpy.full(1, 7, i64))
    for key in ["train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds", "examples_per_second", "lr"]:
        run["fit.history." + key] = ("F64", numpy.full(steps, 0.5))
    kinds = {"format": "lamina checkpoint 1", "model": "Linear(2, 2)", "optimizer": "Adam", "schedule": "StepLR"}
    put("checkpoint", name, b"\0".join(safetensors(run, kinds)))

for kind in ["<f4", ">f4", "<f8", "<f2", "<i8", ">i4", "|u1", "|b1"]:
    put("npy", kind[1:] + ("_big" if kind[0] == ">" else ""), saved(numpy.save, numpy.arange(3).astype(kind)))
put("npy", "fortran", saved(numpy.save, numpy.asfortranarray(numpy.arange(6, dtype=f32).reshape(2, 3))))
put("npy", "empty", saved(numpy.save, numpy.zeros((0, 2), f32)))
put("npy", "scalar", saved(numpy.save, numpy.array(1, f32)))
text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }\n"
put("npy", "old_python", b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(8))
put("npy", "version_2", b"\x93NUMPY\2\0" + struct.pack("<I", len(text)) + text + bytes(8))

arrays = {"a": numpy.arange(3, dtype=f32), "b": numpy.ones((2, 2))}
put("npz", "stored", saved(numpy.savez, **arrays))
put("npz", "deflated", saved(numpy.savez_compressed, **arrays))


def commented(buffer):
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = b"comment"
        archive.writestr("a.npy", saved(numpy.save, numpy.arange(2)))


put("npz", "comment", saved(commented))

put("gzip", "text", gzip.compress(b"some text, some text, some text", mtime=0))
put("gzip", "stored", gzip.compress(bytes(range(64)), 0, mtime=0))
put("gzip", "members", gzip.compress(b"a", mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b"b", mtime=0))
put("gzip", "named", b"\x1f\x8b\x08\x1c" + bytes(6) + b"\2\0ab" + b"name\0comment\0" +
    gzip.compress(b"a", mtime=0)[10:])
put("gzip", "plain", b"not compressed")

put("idx", "images", bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 1, 3) + bytes(6))
put("idx", "labels", bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + bytes([3, 9]))
put("cifar", "begin", bytes([3, 1, 2]))
put("cifar", "record", bytes([9]) + bytes(3072))
put("cifar", "hundred", bytes([19, 99]) + bytes(3072))

picture = numpy.arange(11 * 9 * 4, dtype=numpy.uint8).reshape(11, 9, 4)
for mode in ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]:
    image = Image.fromarray(picture).convert(mode) if mode != "I;16" else \
        Image.fromarray(numpy.arange(99, dtype=numpy.uint16).reshape(11, 9) * 600)
    put("png", mode.replace(";", ""), saved(image.save, "png"))
put("png", "transparent", saved(Image.fromarray(picture).convert("P").save, "png", transparency=3))
put("png", "black", saved(Image.new("L", (64, 64)).save, "png"))


def png_chunk(kind, data):
    import zlib
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced(width, height, depth, color, size):
    import zlib
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(bytes(size))) + \
        png_chunk(b"IEND", b"")


put("png", "interlaced", interlaced(5, 5, 8, 2, 3 * 25 + 11))
put("png", "interlaced_bits", interlaced(9, 9, 1, 0, 40))
put("png", "interlaced_16", interlaced(3, 3, 16, 6, 8 * 9 + 8))

rgb = Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (19, 21, 3), numpy.uint8))
for name, options in {"plain": {}, "progressive": {"progressive": True}, "full": {"subsampling": 0},
                      "half": {"subsampling": 1}, "optimized": {"optimize": True}}.items():
    put("jpeg", name, saved(rgb.save, "jpeg", quality=30, **options))
put("jpeg", "grey", saved(rgb.convert("L").save, "jpeg", quality=30))
put("jpeg", "cmyk", saved(rgb.convert("CMYK").save, "jpeg", quality=30))
restarts = saved(rgb.convert("L").save, "jpeg", quality=30)
put("jpeg", "stray_restart", restarts[:-2] + b"\xff\xd1\xff\xd9")
put("jpeg", "interval", restarts.replace(b"\xff\xda", b"\xff\xdd\0\4\0\1\xff\xda", 1))
put("jpeg", "padded", restarts.replace(b"\xff\xc4", b"\xff\xff\xff\xc4"))

put("captions", "tokens", b"a.jpg#0\tA child .\na.jpg#1\tTwo\r\nb.jpg#0\tA dog\n")
put("captions", "table", b"image,caption\na.jpg,\"A child , \"\"climbing\"\"\"\nb.jpg,A dog\n")
put("captions", "lines", b"image,caption\r\na.jpg,\"A child\nclimbing\"\r\n")
put("captions", "bars", b"image_name| comment_number| comment\na.jpg| 0| A child .\na.jpg| 1| Two\n")
put("captions", "mark", b"\xef\xbb\xbfcaption,number,image\nA dog,0,a.jpg\n")

vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n##c\n\u00e9\n\u6c34\n!\n"
put("wordpiece", "words", vocabulary.encode() + "\0abc \u00c9! \u6c34 [SEP] x\t\u0130\u1e9e\n".encode())
put("wordpiece", "lines", b"\xef\xbb\xbf" + vocabulary.replace("\n", "\r\n").encode() + b"\0ab\xf0\x9f\x98\x80\xff")
put("wordpiece", "missing", b"[PAD]\na\n\0a")

seen = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
names = [chr(byte) for byte in seen] + [chr(0x100 + i) for i in range(256 - len(seen))]
merges = {"gpt2": ["h e", "l l", "he ll", "\u0120 o"], "clip": ["d o", "do g</w>", "c a", "ca t</w>"]}
for form, own in merges.items():
    tokens = names + ([name + "</w>" for name in names] if form == "clip" else [])
    tokens += [pair.replace(" ", "") for pair in own] + ["<|startoftext|>"] * (form == "clip") + ["<|endoftext|>"]
    ids = json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False)
    lines = "#version: 0.2\n" + "".join(pair + "\n" for pair in own)
    text = "hello  o'll DOG &amp; cat\u00c9 12\u0661 <|endoftext|>\n" if form == "gpt2" else "A dog's\tCAT &lt;3 \u017ft"
    put("byte_pair", form, "\0".join([ids, lines, text]).encode())
put("byte_pair", "merges", b"\0#version: 0.2\nd o\ndo g</w>\n\0dog &#x41;&copy;\xf0\x9f\x98\x80 ab abab")
put("byte_pair", "cut", b"{\"a\": 1, \"b\0a b\nc\n\0ab\xff")


def graph(nodes, weights, shape=(1, 2, 4, 4)):
    """x through nodes (type, inputs, attributes), each of which makes the next one's first input."""
    made, last = [], "x"
    for number, (kind, inputs, attributes) in enumerate(nodes):
        made.append(helper.make_node(kind, [last, *inputs], [f"v{number}"], f"n{number}", **attributes))
        last = f"v{number}"
    value = helper.make_tensor_value_info
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    body = helper.make_graph(made, "g", [value("x", onnx.TensorProto.FLOAT, shape)],
                             [value(last, onnx.TensorProto.FLOAT, None)], initializers)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


put("onnx", "convolution", graph(
    [("Conv", ["w", "b"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 1]}), ("Relu", [], {}),
     ("BatchNormalization", ["b", "b", "b", "one"], {"epsilon": 1e-3}), ("MaxPool", [], {"kernel_shape": [2, 2]}),
     ("GlobalAveragePool", [], {}), ("Flatten", [], {"axis": 1}), ("Gemm", ["f", "g"], {"transB": 1}),
     ("Softmax", [], {"axis": -1})],
    {"w": numpy.ones((3, 2, 3, 3), f32), "b": numpy.ones(3, f32), "one": numpy.ones(3, f32),
     "f": numpy.ones((2, 3), f32), "g": numpy.zeros(2, f32)}))
put("onnx", "shapes", graph(
    [("Reshape", ["r"], {}), ("Transpose", [], {"perm": [0, 2, 1]}), ("Slice", ["s", "e", "a"], {}),
     ("Unsqueeze", ["a"], {}), ("Squeeze", ["a"], {}), ("Pad", ["p"], {}), ("ReduceMean", [], {"axes": [1]}),
     ("Clip", ["low"], {}), ("Expand", ["x4"], {})],
    {"r": numpy.array([1, 2, 16], i64), "s": numpy.array([0], i64), "e": numpy.array([2], i64),
     "a": numpy.array([1], i64), "p": numpy.array([0, 1, 0, 0, 0, 1], i64), "low": numpy.array(0, f32),
     "x4": numpy.array([2, 1, 3], i64)}))
