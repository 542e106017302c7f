#!/usr/bin/env python3
"""Writes tests/golden/openai_clip.safetensors: two small models of OpenAI's own code, and what they make of examples.

usage: make_openai_clip.py CLIP tests/golden/openai_clip.safetensors

CLIP is a clone of github.com/openai/CLIP. Of each model, "vit/" and "resnet/": its state_dict in half precision, images,
texts (zeros behind the end of text, the largest id), features, logits, and, in training mode, the loss of the paper's
figure 3 and some of its gradients.
"""
import importlib.util
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "examples"))
from convert_weights import write_safetensors

GRADIENTS = ["visual.class_embedding", "visual.positional_embedding", "visual.ln_pre.weight", "visual.proj",
             "visual.attnpool.positional_embedding", "visual.attnpool.c_proj.weight", "visual.attnpool.q_proj.bias",
             "visual.bn1.weight", "visual.conv1.weight", "visual.layer2.0.downsample.1.weight", "token_embedding.weight",
             "positional_embedding", "transformer.resblocks.0.attn.in_proj_weight",
             "transformer.resblocks.1.mlp.c_fc.bias", "text_projection", "ln_final.bias", "logit_scale"]


def main():
    spec = importlib.util.spec_from_file_location("model", f"{sys.argv[1]}/clip/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(21)
    text = dict(context_length=10, vocab_size=30, transformer_width=16, transformer_heads=2, transformer_layers=2)
    models = {
        "vit": module.CLIP(8, image_resolution=16, vision_layers=1, vision_width=64, vision_patch_size=8, **text),
        "resnet": module.CLIP(8, image_resolution=64, vision_layers=(1, 2, 1, 1), vision_width=4, vision_patch_size=None,
                              **text)}
    ids = torch.tensor([[28, 3, 7, 29, 0, 0, 0, 0, 0, 0], [28, 29, 0, 0, 0, 0, 0, 0, 0, 0],
                        [28, 1, 2, 3, 4, 5, 6, 7, 8, 29]])
    result = {"text": ids}
    for name, model in models.items():
        for key, value in model.named_parameters():
            if value.ndim == 1 and key != "logit_scale":
                torch.nn.init.normal_(value, 1 if key.endswith("weight") else 0, 0.2)
        for key, value in model.named_buffers():
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
        model.load_state_dict({key: value.half() if value.is_floating_point() else value
                               for key, value in model.state_dict().items()})
        images = torch.randn(3, 3, model.visual.input_resolution, model.visual.input_resolution)
        entries = {f"state.{key}": value.half() if value.is_floating_point() else value
                   for key, value in model.state_dict().items()}
        model.eval()
        with torch.no_grad():
            entries.update(image=images, image_features=model.encode_image(images), text_features=model.encode_text(ids),
                           logits_per_image=model(images, ids)[0])
        model.train()
        per_image, per_text = model(images, ids)
        own = torch.arange(3)
        loss = (torch.nn.functional.cross_entropy(per_image, own) + torch.nn.functional.cross_entropy(per_text, own)) / 2
        loss.backward()
        entries["loss"] = loss.detach()
        entries.update({f"grad.{key}": value.grad for key, value in model.named_parameters() if key in GRADIENTS})
        result.update({f"{name}/{key}": value for key, value in entries.items()})
    write_safetensors(sys.argv[2], result)


main()
