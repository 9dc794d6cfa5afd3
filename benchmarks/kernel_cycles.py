"""What a processor would need for the hot loops of a kernels' object file, by llvm-mca: without running them.

    python benchmarks/kernel_cycles.py build/.../kernels_avx512.cpp.o

A line a loop and processor: cycles per element (all data in the nearest cache, branches foreseen), and the resources
that are busiest, in cycles per element too. The loop of a function is the one with most FMA instructions on one path
from its head back to it; of several paths the one with most FMAs and stores, streaming stores left aside. Its elements
are counted by the bytes that the path stores: with --elements where it stores something else too.

Needs objdump and llvm-mca, better of LLVM 19 or newer (--mca names it): older ones know fewer processors.
"""

import argparse
import re
import shutil
import subprocess
from collections import defaultdict

PROCESSORS = {"avx512": ["znver4", "sapphirerapids"], "avx2": ["znver3", "skylake"], "other": ["znver3", "skylake"]}
SIZES = {"double": 8, "float": 4, "Half": 2, "BFloat16": 2}
# Other types, results that are not asked for, and single rows, whose loop stores sums beside its elements.
LEFT_OUT = re.compile("Half|double|false>|BFloat16, BFloat16|, 1, ")
REGISTERS = {"x": 16, "y": 32, "z": 64}


def functions(path):
    """Demangled name and [(address, instruction)] of every function."""
    command = ["objdump", "-d", "-C", "-w", "--no-show-raw-insn", path]
    found = []
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if name := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            found.append((name[1], []))
        elif instruction := re.match(r"\s+([0-9a-f]+):\t([^#]*)", line):
            found[-1][1].append((int(instruction[1], 16), instruction[2].strip()))
    return found


class Blocks:
    """The basic blocks of a function, each known by the index of its first instruction, and where they lead."""

    def __init__(self, body):
        self.text = [text for _, text in body]
        at = {address: i for i, (address, _) in enumerate(body)}
        jumps = {}
        for i, text in enumerate(self.text):
            if jump := re.match(r"j\w+\s+([0-9a-f]+) <", text):
                jumps[i] = at.get(int(jump[1], 16))
        heads = {0} | {t for t in jumps.values() if t is not None} | {i + 1 for i in jumps if i + 1 < len(body)}
        self.heads = sorted(heads)
        self.next, self.of = {}, {}
        for head, end in zip(self.heads, [*self.heads[1:], len(body)], strict=True):
            self.of[head] = self.text[head:end]
            last = end - 1
            targets = {jumps[last]} if last in jumps else set()
            if not self.text[last].startswith(("jmp", "ret", "ud2")) and end < len(body):
                targets.add(end)
            self.next[head] = targets - {None}

    def loops(self):
        """Head and blocks of each natural loop."""
        order, seen, stack = [], {0}, [(0, iter(self.next[0]))]
        while stack:
            head, targets = stack[-1]
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    stack.append((target, iter(self.next[target])))
                    break
            else:
                order.append(head)
                stack.pop()
        order.reverse()
        before = defaultdict(set)
        for head in order:
            for target in self.next[head]:
                before[target].add(head)
        dominators = {head: set(order) for head in order}
        dominators[0] = {0}
        changed = True
        while changed:
            changed = False
            for head in order[1:]:
                new = {head} | set.intersection(*(dominators[b] for b in before[head]))
                changed |= new != dominators[head]
                dominators[head] = new
        loops = defaultdict(set)
        for head in order:
            for target in self.next[head] & dominators[head]:
                inside, todo = {target}, [head]
                while todo:
                    if (block := todo.pop()) not in inside:
                        inside.add(block)
                        todo.extend(before[block])
                loops[target] |= inside
        self.order = order
        return loops

    def path(self, head, inside):
        """The instructions of the path around a loop that `weight` prefers."""
        best = {}
        for block in reversed([b for b in self.order if b in inside]):
            ways = [best[t] for t in self.next[block] if t != head and t in best]
            if head in self.next[block]:
                ways.append((weight([]), []))
            if ways and not any(text.startswith("vmovnt") for text in self.of[block]):
                score, rest = max(ways)
                own = weight(self.of[block])
                best[block] = (tuple(a + b for a, b in zip(own, score, strict=True)), self.of[block] + rest)
        return best.get(head, (weight([]), []))


def is_fma(text):
    return re.match(r"vfn?m(add|sub)", text) is not None


def stored_bytes(text):
    """Bytes that a vector instruction writes to memory other than the stack."""
    store = re.match(r"v\w+ .*%([xyz])mm\d+,(?!.*%[re]?[sb]p).*\([^()]*\)(\{%k\d\})?$", text)
    return REGISTERS[store[1]] // (2 if text.startswith("vcvtps2ph") else 1) if store else 0


def weight(texts):
    return (sum(map(is_fma, texts)), sum(stored_bytes(t) > 0 for t in texts), -len(texts))


def hot_loop(body):
    """The instructions of the path with most FMAs among the innermost loops of a function."""
    blocks = Blocks(body)
    loops = blocks.loops()
    paths = {}
    for head, inside in loops.items():
        # A loop around one that has the arithmetic is not what one wants to see.
        inner = [h for h in inside if h in loops and h != head and loops[h] < inside]
        if not any(sum(is_fma(t) for b in loops[h] for t in blocks.of[b]) >= 6 for h in inner):
            paths[head] = blocks.path(head, inside)
    return max(paths.values(), default=(weight([]), []))[1]


def analyse(mca, processor, loop):
    """Cycles per iteration, and {resource: cycles per iteration}."""
    source = "\n".join(re.sub(r"^(j\w+).*", r"\1 1f", t) for t in loop if not re.match(r"(nop|data16|cs nop|xchg)", t))
    command = [mca, "-mtriple=x86_64", f"-mcpu={processor}", "-iterations=300", "-instruction-info=0"]
    run = subprocess.run(command, input=source + "\n1:\n", capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr[-2000:])
    cycles = int(re.search(r"Total Cycles:\s+(\d+)", run.stdout)[1]) / 300
    names = dict(re.findall(r"^\[([\d.]+)\]\s+- (\S+)$", run.stdout, re.M))
    table = run.stdout.split("Resource pressure per iteration:")[1].strip().splitlines()
    busy = zip(re.findall(r"\[([\d.]+)\]", table[0]), table[1].split(), strict=True)
    return cycles, {names[n.split(".")[0]] if n not in names else names[n]: float(b) for n, b in busy if b != "-"}


def short(name):
    name = re.sub(r"\(derf::.*|\((c10|float|double|void).*|\(anonymous namespace\)::|derf::\w+::|c10::|std::", "", name)
    return re.sub(r"\b(void|static) ", "", name)


def element_size(name):
    types = re.findall(r"BFloat16|Half|float|double", short(name))
    return SIZES[types[0]] if types else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("object", nargs="+", help="object file or shared library")
    parser.add_argument("--match", help="only functions whose demangled name has this regular expression")
    parser.add_argument("--all", action="store_true", help="not only float32 and bfloat16 with all gradients")
    parser.add_argument("--cpu", help="processors, by llvm-mca's names, with commas between them")
    parser.add_argument("--elements", type=int, help="elements that the loop takes at a time")
    parser.add_argument("--show", action="store_true", help="print the instructions too")
    parser.add_argument("--mca", help="the llvm-mca to run")
    arguments = parser.parse_args()
    names = [arguments.mca] if arguments.mca else [f"llvm-mca-{v}" for v in range(29, 15, -1)] + ["llvm-mca"]
    mca = next((name for name in names if shutil.which(name)), None)
    if mca is None:
        parser.error("llvm-mca is not there: it comes with LLVM")
    for path in arguments.object:
        for name, body in sorted(functions(path)):
            if not re.search(arguments.match or "forward|backward", name):
                continue
            if not (arguments.all or arguments.match) and LEFT_OUT.search(short(name)):
                continue
            loop = hot_loop(body)
            size = element_size(name)
            elements = arguments.elements or sum(map(stored_bytes, loop)) // (size or 1)
            if sum(map(is_fma, loop)) < 6 or not elements:
                continue
            print(f"{short(name)}: {elements} elements, {len(loop)} instructions, {sum(map(is_fma, loop))} of them FMA")
            if arguments.show:
                print("\n".join("    " + text for text in loop))
            wide = next((isa for isa in PROCESSORS if isa.upper() in name), "other")
            for processor in arguments.cpu.split(",") if arguments.cpu else PROCESSORS[wide]:
                cycles, busy = analyse(mca, processor, loop)
                most = sorted(busy.items(), key=lambda item: -item[1])[:4]
                busiest = ", ".join(f"{resource} {b / elements:.3f}" for resource, b in most)
                print(f"  {processor:15} {cycles / elements:.3f} cycles/element; busy: {busiest}")


if __name__ == "__main__":
    main()
