#!/usr/bin/env python3
"""Writes tests/golden/byte_pair.json: small byte-pair encodings, and what OpenAI's own tokenizers make of texts with them.

usage: make_byte_pair.py CLIP GPT2 > tests/golden/byte_pair.json

CLIP and GPT2 are clones of github.com/openai/CLIP and github.com/openai/gpt-2. Needs the regex module. The merges are
learned here from the sentences below; the ids are SimpleTokenizer's (ftfy's repair of damaged text left out) and
Encoder's.
"""
import collections
import gzip
import html
import importlib.util
import json
import random
import sys
import tempfile
import types

import regex

LEARNED_FROM = """
a photo of a cat and a dog in the photo it's the cat's and they've got the dog's ball don't we'll I'm you're he'd
two dogs are running over the green grass while a man in a red shirt is throwing a yellow ball
people standing in front of an old house near the water a child climbing up the stairs of a wooden house
naïve café über straße 日本語 日本 привет мир !! ... ?! -- 12 123 1000 ’s “quoted”
"""

TEXTS = [
    "", " ", "a", "A photo of a CAT", "it's the dog's ball; they've got 1234 cats!!", "don't DON'T We'Ll I'M he'd You're",
    "  odd \t\n spaces  ", "\x1c edges \x1f", "in\x1cside \x0b\x0c\x85 x", "a\u00a0b\u2003c\u3000d\u2028e\u200bf\ufeffg",
    "a'b''c 's 'sa ''s '\u017f \u017f", "<|startoftext|>a<|endoftext|>", "x!<|endoftext|>!", "<|STARTOFTEXT|>",
    "<|\u017ftartoftext|>", "<|end", "&amp; &lt;b&gt; &AMP;amp;lt; &notit; &notin; &#39;s &#x27;S &#0; &#128; &#xD800; &#1; &",
    "&amp;amp;amp;", "&ampx &; &x; &#; &#x; &#xzz; &#65 &#65;&#x1F600;", "&nbsp;a&NewLine;b&Tab;c&nbsp;",
    "&CounterClockwiseContourIntegral; &CounterClockwiseContourIntegralx &fjlig; &NotEqualTilde;",
    "na\u00efve CAF\u00c9 \u2014 \u00dcBER stra\u00dfe\u2026", "\u0391\u0398\u0397\u039d\u0391\u03a3 \u03a3 \u03a3\u03a3. \u039f\u03a3\u0301 \u03a3a a\u03a3'b",
    "\u0130stanbul \u01c5 \u1e9e \u212a \u2126", "\u65e5\u672c\u8a9e \u30c6\u30ad\u30b9\u30c8", "\ud83d\ude00\ud83d\udc4d\ud83c\udffd emoji".encode("utf-16", "surrogatepass").decode("utf-16"),
    "3.14159 1,000,000 \u00bd \u2460 \u0661\u0662\u0663 x2y", "under_score-hyphen/slash\\back", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "thethethethethethe", "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940", "line\n\n\n  next   ", " 's  's   x\t\ty ",
    "\x00\x01\x7f \u0000x", "\ufffd \ue000 \U0010ffff", "\u0345\u0300a",
]


def clip_tokenizer(folder, merges):
    """SimpleTokenizer over these merges."""
    ftfy = types.ModuleType("ftfy")
    ftfy.fix_text = lambda text: text
    sys.modules["ftfy"] = ftfy
    spec = importlib.util.spec_from_file_location("simple_tokenizer", f"{folder}/clip/simple_tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.NamedTemporaryFile(suffix=".gz") as file:
        file.write(gzip.compress(("#version\n" + "\n".join(merges)).encode()))
        file.flush()
        return module.SimpleTokenizer(file.name), module


def learned(words, count):
    """The merges of words given as tuples of tokens."""
    words, merges = collections.Counter(words), []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(" ".join(best))
        joined = collections.Counter()
        for word, times in words.items():
            out, i = [], 0
            while i < len(word):
                both = word[i : i + 2] == best
                out.append("".join(best) if both else word[i])
                i += 1 + both
            joined[tuple(out)] += times
        words = joined
    return merges


def drawn_texts():
    """Strings of characters of all kinds at random."""
    draw = random.Random(21)
    kinds = ["abcde ths", "ABCΣσΟİÄß", "  \t\n\u00a0\u2003\x1c", "'&;#x12<|>!?.,", "日本éñ़ा😀½٣ᾳǅ\u0301\u00ad\u200d"]
    return ["".join(draw.choice(draw.choice(kinds)) for _ in range(draw.randrange(1, 40))) for _ in range(200)]


def main():
    _, module = clip_tokenizer(sys.argv[1], [])
    names = module.bytes_to_unicode()

    def spelled(word):
        return [names[b] for b in word.encode()]

    clip_words = regex.findall(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", html.unescape(LEARNED_FROM).lower())
    clip_merges = learned([tuple(s[:-1]) + (s[-1] + "</w>",) for s in map(spelled, clip_words)], 150)
    tokenizer, _ = clip_tokenizer(sys.argv[1], clip_merges)

    spec = importlib.util.spec_from_file_location("encoder", f"{sys.argv[2]}/src/encoder.py")
    gpt2 = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpt2)
    gpt2_words = regex.findall(r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+", LEARNED_FROM)
    gpt2_merges = learned([tuple(spelled(word)) for word in gpt2_words], 170)
    vocabulary = list(names.values()) + [merge.replace(" ", "") for merge in gpt2_merges] + ["<|endoftext|>"]
    encoder = gpt2.Encoder({token: i for i, token in enumerate(vocabulary)}, [tuple(m.split()) for m in gpt2_merges])

    texts = TEXTS + drawn_texts()
    plain = [text for text in texts if "<|endoftext|>" not in text]
    print(json.dumps({
        "clip": {"merges": clip_merges, "texts": texts, "ids": [tokenizer.encode(text) for text in texts]},
        "gpt2": {"merges": gpt2_merges, "vocabulary": vocabulary, "texts": plain, "ids": [encoder.encode(t) for t in plain]},
    }, separators=(",", ":"), ensure_ascii=True))


main()
