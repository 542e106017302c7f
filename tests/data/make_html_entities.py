#!/usr/bin/env python3
"""Writes include/lamina/data/detail/html_entities.hpp from Python's html.entities: HTML5's names of characters.

usage: make_html_entities.py > include/lamina/data/detail/html_entities.hpp
"""
import unicodedata
from html.entities import html5


def literal(text):
    """Letters, digits and signs as they are, all else as three octal digits for each byte."""
    def plain(c):
        return c.isalnum() or c == ";" if c.isascii() else unicodedata.category(c)[0] in "LNPS"
    return "".join(c if plain(c) else "".join(f"\\{b:03o}" for b in c.encode()) for c in text)


def main():
    rows = [f"{literal(name)}\\001{literal(value)}\\002" for name, value in sorted(html5.items())]
    lines, line = [], ""
    for row in rows:
        if len(line) + len(row) > 110:
            lines.append(line)
            line = ""
        line += row
    text = "\n".join(f'    "{line}"' for line in lines + [line])
    print(f"""#pragma once

#include <string_view>

#include "lamina/core/isa.hpp"

/// HTML5's names of characters, as Python's html.entities has them. Written by tests/data/make_html_entities.py.
namespace lamina::inline LAMINA_ABI::detail::html {{

// name \\1 characters \\2 name ..., sorted by name; those of {len(rows)} that may lack their semicolon are there without it too.
// clang-format off
inline constexpr std::string_view entities =
{text};
// clang-format on

}}  // namespace lamina::inline LAMINA_ABI::detail::html""")


main()
