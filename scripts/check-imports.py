"""Imports go one way. Fails on a circle between files of src/, on one between its rooms (what lies directly in src/), and on a
crate outside of the room that it belongs to. Tests may import what they like."""

import os
import re
import sys

# The crates that one room alone may name.
OWN = {"postgres": "postgres", "postgres_protocol": "postgres", "tokio_postgres": "postgres",
       "tokio_postgres_rustls": "postgres", "ureq": "etcd"}
TEST = re.compile(r"( *)#\[cfg\((test|any\(test, fuzzing\))\)\]")


def source(path):
    """The lines without comments and without what is compiled for tests only, and the modules declared for tests only."""
    lines, tests, skipping = [], set(), None
    with open(path, encoding="utf-8") as file:
        for line in file.read().split("\n"):
            test = TEST.fullmatch(line)
            if skipping is not None:
                declared = re.fullmatch(r"\s*(?:pub(?:\(.*?\))? )?mod (\w+);", line)
                tests.update(declared.groups() if declared else ())
                if line.startswith(skipping) and line[len(skipping):].startswith("}") or line.endswith(";") and opened == 0:
                    skipping = None
                opened += line.endswith("{")
            elif test:
                skipping, opened = test[1], 0
            else:
                lines.append(re.sub(r"(^|\s)//.*", "", line))
    return "\n".join(lines), tests


def split(text):
    """Splits at commas outside of braces."""
    depth, parts = 0, [""]
    for character in text:
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


def expand(text, before=()):
    """The paths of a use declaration, each with the name that it gets."""
    text = re.sub(r"\s+", " ", text).strip()
    head, brace, rest = text.partition("{")
    path = [*before, *(part.strip() for part in head.split("::") if part.strip())]
    if brace:
        return [found for part in split(rest.rsplit("}", 1)[0]) for found in expand(part, path)]
    last, _, name = path[-1].partition(" as ")
    path = path[:-1] if last == "self" and len(path) > 1 else [*path[:-1], last]
    return [(path, name or path[-1])]


class Tree:
    def __init__(self):
        self.files = {}
        declared_for_tests = set()
        for folder, _, names in os.walk("src"):
            for name in sorted(name for name in names if name.endswith(".rs")):
                path = os.path.join(folder, name)
                module = tuple(path[len("src/"):-len(".rs")].split("/"))
                module = module[:-1] if module[-1] in ("mod", "lib") else module
                if module != ("main",):
                    text, tests = source(path)
                    self.files[module] = (path, text)
                    declared_for_tests.update((*module, test) for test in tests)
        self.files = {module: file for module, file in self.files.items()
                      if not any(module[:len(test)] == test for test in declared_for_tests)}
        self.exported = {}
        for module, (_, text) in self.files.items():
            for public, used in re.findall(r"^\s*(pub(?:\([^)]*\))? )?use ([^;]+);", text, re.M):
                for path, name in expand(used) if public else ():
                    self.exported[(module, name)] = self.absolute(module, path)

    def absolute(self, module, path):
        """A path from the root of the crate; None if it leads out of the crate."""
        path, at = list(path), module
        if path[0] == "crate":
            return tuple(path[1:])
        if path[0] not in ("self", "super") and (*module, path[0]) not in self.files:
            return None
        while path[0] in ("self", "super"):
            at = at[:-1] if path.pop(0) == "super" else at
            if not path:
                return at
        return (*at, *path)

    def home(self, path):
        """The file that has what a path names, behind what exports it."""
        for _ in range(9):
            module = max((path[:n] for n in range(len(path) + 1) if path[:n] in self.files), key=len)
            name = path[len(module):len(module) + 1]
            exported = self.exported.get((module, *name)) if name else None
            if exported is None:
                return module
            path = (*exported, *path[len(module) + 1:])
        return module

    def imports(self):
        """Who imports whom, and what is wrong with the crates that are named."""
        graph, wrong = {module: set() for module in self.files}, []
        for module, (path, text) in self.files.items():
            uses = r"^\s*(?:pub(?:\([^)]*\))? )?use ([^;]+);"
            private = [used for public, used in re.findall(r"^\s*(pub(?:\([^)]*\))? )?use ([^;]+);", text, re.M) if not public]
            code = re.sub(uses, "", text, flags=re.M)
            named = [found for used in private for found, _ in expand(used)]
            named += [found.split("::") for found in re.findall(r"\b(?:crate|super|self)(?:::\w+)+", code)]
            for found in named:
                target = self.absolute(module, found)
                if target is not None and self.home(target) not in (module, ()):
                    graph[module].add(self.home(target))
            crates = {used.removeprefix("::").split("::")[0].strip() for used in re.findall(uses, text, re.M)
                      if used.startswith("::") or (*module, used.split("::")[0]) not in self.files}
            crates |= set(re.findall(r"(?<![\w>:])::(\w+)::", code))
            crates |= {crate for crate in OWN if crate != "postgres" and re.search(rf"(?<!\w)(?<!::){crate}::", code)}
            wrong += [f"{path}: only src/{OWN[crate]} may name {crate}" for crate in sorted(crates & OWN.keys())
                      if module[:1] != (OWN[crate],)]
        return graph, wrong


def circles(graph):
    """For each set of nodes that reach each other a shortest circle among them."""
    found, seen = [], set()
    for start in sorted(graph):
        paths, at = {start: [start]}, [start]
        for node in at:
            for target in sorted(graph[node]):
                if target == start and start not in seen:
                    found.append([*paths[node], start])
                    seen.update(paths[node])
                    break
                if target not in paths:
                    paths[target] = [*paths[node], target]
                    at.append(target)
    return found


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    tree = Tree()
    graph, wrong = tree.imports()
    rooms = {}
    for module, targets in graph.items():
        if module:
            rooms.setdefault(module[:1], set()).update(target[:1] for target in targets if target[:1] != module[:1])
    for kind, nodes in [("files", graph), ("rooms", rooms)]:
        wrong += [f"a circle of {kind}: " + " -> ".join("::".join(node) for node in circle) for circle in circles(nodes)]
    for line in wrong:
        print(f"check-imports: {line}", file=sys.stderr)
    sys.exit(bool(wrong))


main()
