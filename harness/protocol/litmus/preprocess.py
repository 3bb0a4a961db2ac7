"""What a C preprocessor would see to in pasted code of the kernel, so that pycparser can parse the rest.

    #define NAME VALUE        an enumerator, which stands for VALUE wherever it is named
    #include ...              blanked, as are attributes (__must_check, __init ...), EXPORT_SYMBOL and `fallthrough`
    DEFINE_SPINLOCK(name)     the lock's declaration; likewise the others of DECLARED
    a ?: b                    a ? IT : b, where IT is what `a` came to

Lines and columns stay, but behind a declaration that is longer than what it stands for, and behind a `?:`.
"""

import re

from harness.protocol.litmus.text import Text

DECLARED = {"DEFINE_SPINLOCK": "spinlock_t", "DEFINE_RAW_SPINLOCK": "raw_spinlock_t", "DEFINE_RWLOCK": "rwlock_t",
            "DEFINE_MUTEX": "struct mutex", "DECLARE_RWSEM": "struct rw_semaphore", "DEFINE_SRCU": "struct srcu_struct",
            "DEFINE_STATIC_SRCU": "struct srcu_struct"}
_DECLARED = re.compile(rf"\b({'|'.join(DECLARED)})\s*\(\s*(\w+)\s*\)")
# include/linux/compiler_attributes.h, compiler_types.h, init.h, cache.h, export.h.
_ATTRIBUTES = re.compile(r"""\b(?:
    __must_check | __always_inline | __maybe_unused | __always_unused | __used | __cold | __weak | __pure | __packed | __deprecated
  | noinline | noinline_for_stack | notrace | asmlinkage | fallthrough
  | __init | __exit | __initdata | __ro_after_init | __read_mostly | __percpu | __user | __iomem | __rcu | __force | __private
  | __cacheline_aligned | __cacheline_aligned_in_smp | ____cacheline_aligned | ____cacheline_aligned_in_smp | __aligned\s*\([^()]*\)
  | (?:__acquires|__releases|__must_hold|__cond_acquires|__acquires_shared|__releases_shared|__printf|__counted_by|__guarded_by)\s*\([^()]*\)
  | __attribute__\s*\(\([^()]*(?:\([^()]*\))?[^()]*\)\)
  | EXPORT_SYMBOL\w*\s*\([^()]*\)\s*;
)(?!\w)""", re.VERBOSE)
IT = "__it__"
_ELVIS = re.compile(r"\?\s*:")
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w*)((?:[^\n\\]|\\\n?)*)", re.MULTILINE)
_DEFINE = re.compile(r"[ \t]+([A-Za-z_]\w*)(\(?)")


def plain(text: Text) -> str:
    """What is between the first process and the last, without preprocessing.  Raises LitmusError."""
    body = _DIRECTIVE.sub(lambda found: _directive(text, found), text.functions.text)
    body = _ELVIS.sub(f"? {IT} :", body)
    body = _ATTRIBUTES.sub(lambda found: _blank(found[0]), body)
    return _DECLARED.sub(lambda found: f"{DECLARED[found[1]]} ".ljust(found.start(2) - found.start()) + found[2], body)


def _blank(piece: str) -> str:
    return re.sub(r"[^\n]", " ", piece)


def _directive(text: Text, found: re.Match) -> str:
    name, rest = found[1], found[2]
    at = text.functions.start + found.start() + found[0].index("#")
    if name in ("include", "undef", "pragma"):
        return _blank(found[0])
    if name != "define":
        raise text.error(at, f"`#{name}` is not understood: let the lines stand that are meant")
    defined = _DEFINE.match(rest)
    if not defined or defined[2]:
        raise text.error(at, "a #define with arguments is not understood: write it as a static function" if defined else
                         "`#define` must be followed by a name")
    value = rest[defined.end():].replace("\\\n", " \n")
    if not value.strip():
        return _blank(found[0])
    if _open(value):
        raise text.error(at, f"`{' '.join(value.split())}` must stand in parentheses")
    head = found[0][:found.start(2) - found.start()]
    return "enum{".ljust(len(head)) + rest[:defined.end()] + "=" + value[1:] + "};"


def _open(value: str) -> bool:
    """Whether what is beside a macro's name could take a part of its value to itself."""
    inner, bare = value.strip(), ""
    while inner != bare:                         # what stands in parentheses, from inside out
        bare, inner = inner, re.sub(r"\([^()]*\)", "X", inner)
    return bool(re.search(r"[\w\]]\s*[-+*/%&|^<>=?]", bare))
