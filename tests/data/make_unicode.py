#!/usr/bin/env python3
"""Writes include/lamina/data/detail/unicode.hpp and the checksums that the tests of the tokenizers have, from Python's
unicodedata.

usage: make_unicode.py > include/lamina/data/detail/unicode.hpp     (the checksums go to the error stream)
"""
import sys
import unicodedata

LIMIT = 0x110000
HANGUL = range(0xAC00, 0xAC00 + 11172)  # decomposed by arithmetic


def category(c):
    return unicodedata.category(chr(c))


def fold(c):
    """What BERT's uncased models make of a character: lower case, decomposed, without marks."""
    return "".join(d for d in unicodedata.normalize("NFD", chr(c).lower()) if unicodedata.category(d) != "Mn")


def makes_sigma_final(before):
    return (before + "\u03a3").lower().endswith("\u03c2")


def ignorable(c):
    """Whether a character is passed over when a sigma looks for its neighbours, as str.lower() has it."""
    return category(c) != "Cs" and makes_sigma_final("A" + chr(c)) != makes_sigma_final("1" + chr(c))


def cased(c):
    """Whether it makes a sigma behind it a final one; of those that are not passed over."""
    return category(c) != "Cs" and not ignorable(c) and makes_sigma_final("1" + chr(c))


def lower_runs():
    """Runs [first, last, step, difference] of characters whose lower case is one other character."""
    runs = []
    for c in range(0x80, LIMIT):
        lower = chr(c).lower() if category(c) != "Cs" else ""
        if len(lower) != 1 or lower == chr(c):
            continue
        difference = ord(lower) - c
        run = runs[-1] if runs else None
        if run and run[3] == difference and c - run[1] == (run[2] or min(c - run[1], 2)):
            run[1:3] = [c, c - run[1]]
        else:
            runs.append([c, c, 0, difference])
    return [[first, last, step or 1, difference] for first, last, step, difference in runs]


def boundaries(belongs):
    """Where a set of characters begins, ends, begins again, ..."""
    inside, result = False, []
    for c in range(LIMIT):
        if belongs(c) != inside:
            result.append(c)
            inside = not inside
    return result


def numbers(values):
    lines, line = [], "   "
    for value in values:
        entry = f" {value:#x},"
        if len(line) + len(entry) > 120:
            lines.append(line)
            line = "   "
        line += entry
    return "\n".join(lines + [line])


def literal(c):
    if c < 0x7F:
        return {ord('"'): '\\"', ord("\\"): "\\\\"}.get(c, chr(c))
    if category(c)[0] in "LNPS":
        return chr(c)
    return f"\\U{c:08X}" if c > 0xFFFF else f"\\u{c:04X}"


def strings(first, text):
    """A table row; several lines if it is long."""
    pieces = [literal(c) for c in text]
    lines = ["".join(pieces[i : i + 96]) for i in range(0, len(pieces), 96)]
    return f"    {{{first:#x}, {len(text)}, U\"" + "\"\n     U\"".join(lines) + '"},'


def main():
    folded = {c: [ord(d) for d in fold(c)] for c in range(0x80, LIMIT)
              if c not in HANGUL and category(c) not in ("Mn", "Cs") and fold(c) != chr(c)}
    blocks = []  # runs of changed characters, over gaps of a few that are not
    for c in sorted(c for c in folded if len(folded[c]) == 1):
        if blocks and c - blocks[-1][-1] <= 12:
            blocks[-1].extend(range(blocks[-1][-1] + 1, c + 1))
        else:
            blocks.append([c])
    print(f"""#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "lamina/core/isa.hpp"

/// What tokenizers ask about characters, for Unicode {unicodedata.unidata_version}. Written by tests/data/make_unicode.py.
namespace lamina::inline LAMINA_ABI::detail::unicode {{

// Where a set of characters begins, ends, begins again, ...
template <std::size_t n>
constexpr bool contains(const std::array<char32_t, n>& boundaries, char32_t c) {{
  return (std::upper_bound(boundaries.begin(), boundaries.end(), c) - boundaries.begin()) % 2 == 1;
}}

// Characters of some block, lower-case and without marks, one for each. What is not here stays as it is.
struct Folding {{
  char32_t first;
  char32_t count;
  const char32_t* to;
}};
// Foldings to two characters: the first is to be folded again.
struct LongFolding {{
  char32_t from, first, second;
}};
// Every step-th character from the first to the last has a lower case of one character, that far from it.
struct Lowering {{
  char32_t first, last, step;
  std::int32_t difference;
}};

// clang-format off""")
    for name, belongs in [
            ("marks", lambda c: category(c) == "Mn"),
            ("punctuation", lambda c: category(c)[0] == "P" or (c < 128 and category(c)[0] == "S")),
            ("controls", lambda c: category(c) in ("Cc", "Cf") and c not in (9, 10, 13)),
            ("spaces", lambda c: category(c) in ("Zs", "Zl", "Zp") or c in (9, 10, 13)),
            ("letters", lambda c: category(c)[0] == "L"),
            ("numbers", lambda c: category(c)[0] == "N"),
            ("unassigned", lambda c: category(c) in ("Cn", "Co")),
            ("case_ignorable", ignorable),
            ("cased", cased)]:
        values = boundaries(belongs)
        print(f"inline constexpr std::array<char32_t, {len(values)}> {name}{{\n{numbers(values)}\n}};")
    runs = lower_runs()
    print(f"inline constexpr std::array<Lowering, {len(runs)}> lowerings{{{{")
    rows = [f"{{{first:#x}, {last:#x}, {step}, {difference}}}," for first, last, step, difference in runs]
    for i in range(0, len(rows), 4):
        print("    " + " ".join(rows[i : i + 4]))
    print("}};")
    print(f"inline constexpr std::array<Folding, {len(blocks)}> foldings{{{{")
    for block in blocks:
        print(strings(block[0], [folded[c][0] if len(folded.get(c, [])) == 1 else c for c in block]))
    print("}};")
    long = {c: to for c, to in folded.items() if len(to) > 1}
    print(f"inline constexpr std::array<LongFolding, {len(long)}> long_foldings{{{{")
    rows = []
    for c, to in sorted(long.items()):
        rest = next((d for d in [c] + sorted(long) if d != c and long[d] == to[:-1]), to[0])
        rows.append(f"{{{c:#x}, {rest:#x}, {to[-1]:#x}}},")
    for i in range(0, len(rows), 4):
        print("    " + " ".join(rows[i : i + 4]))
    print("}};\n// clang-format on\n\n}  // namespace lamina::inline LAMINA_ABI::detail::unicode")

    checksum = 0xCBF29CE484222325
    for c in range(LIMIT):
        if category(c) == "Cs":
            continue
        kind = ("M" if category(c) == "Mn" else "P" if category(c)[0] == "P" or (c < 128 and category(c)[0] == "S")
                else "C" if category(c) in ("Cc", "Cf") and c not in (9, 10, 13)
                else "S" if category(c) in ("Zs", "Zl", "Zp") or c in (9, 10, 13) else "-")
        for value in [ord(kind)] + [ord(d) for d in fold(c)]:
            checksum = (checksum ^ value) * 0x100000001B3 % 2**64
    print(f"checksum {checksum:#x}", file=sys.stderr)

    checksum = 0xCBF29CE484222325
    for c in range(LIMIT):
        if category(c) == "Cs":
            continue
        kind = ("L" if category(c)[0] == "L" else "N" if category(c)[0] == "N" else "U" if category(c) in ("Cn", "Co")
                else "S" if chr(c).isspace() else "-")
        for value in [ord(kind), ignorable(c), cased(c)] + [ord(d) for d in chr(c).lower()]:
            checksum = (checksum ^ value) * 0x100000001B3 % 2**64
    print(f"checksum of letters and cases {checksum:#x}", file=sys.stderr)


main()
