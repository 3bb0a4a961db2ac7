"""A short way through Numba's compiler, for sources as plain as the kernels are.

Numba compiles any Python function; a kernel is integers, arrays of them, loops, and calls of other
kernels.  Most of what compiling one costs by default is spent on what a kernel cannot have, and on
optimizing and loading dozens of functions that are never called as such, as all are inlined.
So there are nine differences:

* Passes that only matter to closures, generators, array expressions, literals, reference counts (where a
  variable dies) and the like are left out.  Source that needs one does not compile.  So is the static single
  assignment form: a variable of a kernel has one type wherever it is set, and LLVM makes that form itself.
* A name that stands for a number (locks.BUSY, Op.LOAD), or for something in a module, is looked up
  once, before types are inferred, and a number is then an ordinary 64-bit integer.  By default an
  IntEnum member has a type of its own, and each integer another one; each comparison with them
  walks through the overloads of == again.
* What an operator or an intrinsic makes of its operands is worked out once and remembered, not at every + again; so
  is which code an operator is, what type a value has, and what a kernel returns.
* What is said of each instruction for errors, warnings and debuggers (where it is, how large a variable is) is not.
* What is set once in the first block, as arguments are, needs no memory; an element of an array is found without
  storing all that is known of the array.
* A kernel is translated to LLVM's language and left there.  LLVM optimizes, and makes machine
  code of, an entry with all its kernels inside: once, not once for each kernel on the way.
* No garbage is collected until an entry is compiled.
* Kernels call each other plainly, without a status (plain_calls.py).  Tuples and arrays are handed over as they are;
  by default a tuple of arrays is taken to pieces at each call, several hundred numbers, and put together again in
  what is called, only to be inlined.
* Numba loads what kernels are made of, and not all that it can compile (numba_known.py).

All of this leans on insides of Numba, which is pinned exactly (pyproject.toml);
tests/kernels/test_short_compiler.py notices when they have changed.
"""

import enum
import functools
import gc
import operator
import types as python_types

from numba import _dynfunc
from numba import extending
from numba.core import cgutils, errors, interpreter, ir, typed_passes, typeinfer, types, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.dispatcher import Dispatcher
from numba.core.lowering import Lower
from numba.core.datamodel import models, register_default
from numba.core.compiler_machinery import FunctionPass, LoweringPass, register_pass
from numba.core.ir_utils import build_definitions
from numba.core.targetconfig import ConfigStack

from kernels import arithmetic, numba_known
from kernels.compiling import Deferred
from kernels.plain_calls import plainly

NAMESPACES = (python_types.ModuleType, enum.EnumMeta)    # their attributes do not change
INSTEAD = {min: arithmetic.lesser, max: arithmetic.greater}      # Numba's own are compiled its long way
REMEMBERED = (int, python_types.FunctionType, python_types.BuiltinFunctionType, type, Dispatcher, extending._Intrinsic)


class HandedWhole:
    """How a type's values are given to a function: as one value."""

    def get_argument_type(self):
        return self.get_value_type()

    def as_argument(self, _builder, value):
        return value

    from_argument = as_argument


for of_numba, of_types in ((models.TupleModel, [types.NamedTuple]), (models.ArrayModel, [types.Array]),
                           (models.UniTupleModel, [types.UniTuple, types.NamedUniTuple])):
    for each in of_types:
        register_default(each)(type(f"Whole{of_numba.__name__}", (HandedWhole, of_numba), {}))


class KernelInterpreter(interpreter.Interpreter):
    """Numba's reader of bytecode, without its search for what a `with`, a `try` and a dict leave behind."""

    def post_process(self, _peepholes, func_ir):
        return super().post_process((interpreter.peep_hole_list_to_tuple,
                                     interpreter.peep_hole_call_function_ex_to_call_function_kw), func_ir)

    def _op_JUMP_IF(self, inst, pred, iftrue):
        """Without a bool() of the condition: the jump makes one of any integer."""
        ways = {iftrue: inst.get_jump_target(), not iftrue: inst.next}
        self.current_block.append(ir.Branch(cond=self.get(pred), truebr=ways[True], falsebr=ways[False], loc=self.loc))


class ReadByteCode(FunctionPass):
    """From Python's bytecode to Numba's instructions."""

    _name = "kernels_read_byte_code"

    def __init__(self):                                  # abstract in Numba
        super().__init__()

    def run_pass(self, state):
        state.func_ir = KernelInterpreter(state.func_id).interpret(state.bc)
        state.func_ir.generator_info = None
        return True


@register_pass(mutates_CFG=False, analysis_only=False)
class LookUpNames(FunctionPass):
    """Put the value in place of each name of a number, and of each attribute of a namespace."""

    _name = "kernels_look_up_names"

    def __init__(self):                                  # abstract in Numba
        super().__init__()

    def run_pass(self, state):
        values, new = {}, False
        for block in state.func_ir.blocks.values():
            for assignment in block.find_insts(ir.Assign):
                right = assignment.value
                if isinstance(right, (ir.Global, ir.FreeVar)):
                    value = INSTEAD.get(right.value, right.value) if callable(right.value) else right.value
                    if isinstance(value, Deferred):
                        new, value = new or not value.is_made, value.made
                        assignment.value = ir.Global(right.name, value, right.loc)
                elif isinstance(right, ir.Const):
                    value = right.value
                    if type(value) is not int:
                        continue
                elif isinstance(right, ir.Expr) and right.op == "getattr" and right.value.name in values:
                    value = getattr(values[right.value.name], right.attr)
                    if isinstance(value, Deferred):
                        new, value = new or not value.is_made, value.made
                else:
                    continue
                if isinstance(value, int) and not isinstance(value, bool):
                    assignment.value = ir.Const(int(value), right.loc, use_literal_type=False)
                elif isinstance(right, ir.Expr):
                    assignment.value = ir.Global(right.attr, value, right.loc)
                if isinstance(value, NAMESPACES):
                    values[assignment.target.name] = value
            block.body = [one for one in block.body if not isinstance(one, ir.Assign) or one.target.name not in values]
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        if new:                                          # an intrinsic: a context finds new ones when it is refreshed
            state.typingctx.refresh()
            state.targetctx.refresh()
        return True


class RememberingContext:
    """Numba's typing context, but what an operator or an intrinsic makes of integers is worked out once.

    By default each + walks through all overloads of +, and each intrinsic through all registries of Numba.
    """

    known = {}                       # signature, by operator and types of operands
    values = {}                      # type, by what is not a number only (1 == True) and the value

    def __init__(self, context):
        self._context = context

    def __getattr__(self, name):
        return getattr(self._context, name)

    def resolve_function_type(self, function, arguments, keywords):
        if isinstance(function, types.Dispatcher) and not keywords and is_kernel(function.dispatcher):
            return of_kernel(function.dispatcher, arguments)
        if keywords or not is_remembered(function) or any(isinstance(one, types.Literal) for one in arguments):
            return self._context.resolve_function_type(function, arguments, keywords)
        key = function, tuple(arguments)
        if key not in self.known:
            self.known[key] = self._context.resolve_function_type(function, arguments, keywords)
        return self.known[key]

    def resolve_setitem(self, array, index, value):
        return self.resolve_function_type(self.resolve_value_type(operator.setitem), (array, index, value), {})

    def resolve_value_type(self, value):
        if not isinstance(value, REMEMBERED):
            return self._context.resolve_value_type(value)
        key = type(value), value
        if key not in self.values:
            self.values[key] = self._context.resolve_value_type(value)
        return self.values[key]


def is_kernel(dispatcher) -> bool:
    return dispatcher.targetoptions.get("no_cpython_wrapper", False)


def of_kernel(dispatcher, arguments):
    """The signature of a kernel that is called with arguments of these types; it is compiled if it has not been.

    By default each call asks a lock, timers, a table of conversions and a class made for the purpose.
    """
    arguments = tuple(arguments)
    result = dispatcher.overloads.get(arguments)
    if result is None:
        result = dispatcher.overloads[arguments] = dispatcher._compiler.compile(arguments, None)
    return result.signature


def is_remembered(function) -> bool:
    """Whether a function is [], or Numba's type of it is that of an operator, of an intrinsic, or of the bool() behind each `if`."""
    if function is operator.getitem:
        return True
    if not isinstance(function, types.Function):
        return False
    key = function.typing_key
    return key is bool or isinstance(key, extending._Intrinsic) or getattr(key, "__module__", "") == "_operator"


class KernelConstraints(typeinfer.ConstraintNetwork):
    """What Numba knows of the types of a kernel's variables, without a search for warnings at each instruction."""

    def propagate(self, inferer):
        failed = []
        for constraint in self.constraints:
            try:
                constraint(inferer)
            except errors.TypingError as problem:
                failed.append(problem)
        return failed


class InferTypes(FunctionPass):
    """Numba's inference of types."""

    _name = "kernels_infer_types"

    def __init__(self):                                  # abstract in Numba
        super().__init__()

    def run_pass(self, state):
        inferer = typeinfer.TypeInferer(state.typingctx, state.func_ir, errors.WarningsFixer(errors.NumbaWarning))
        inferer.constraints = KernelConstraints()
        with state.typingctx.callstack.register(state.targetctx.target, inferer, state.func_id, state.args):
            for index, (name, type_) in enumerate(zip(state.func_ir.arg_names, state.args)):
                inferer.seed_argument(name, index, type_)
            inferer.build_constraint()
            inferer.propagate()
            state.typemap, state.return_type, state.calltypes = inferer.unify(raise_errors=True)
        for name, type_ in state.typemap.items():        # what a variable has to be that is set to both
            if isinstance(type_, types.Float):
                raise errors.TypingError(f"{name} is floating point: signed and unsigned are mixed", loc=state.func_ir.loc)
        return True


class KernelLower(Lower):
    """Numba's translation to LLVM's language, but which code an operator is, is looked up once for each types.

    By default each + and each [] walks through all overloads again, although typing has just done that.
    """

    known = {}                       # code, by operator and types of operands

    def lower(self):
        """Without what counts references: by default linked with every function."""
        self.emit_environment_object()
        self.genlower = None
        self.lower_normal_function(self.fndesc)
        self.library.add_ir_module(self.module)

    def _find_singly_assigned_variable(self):
        """Variables that are set in one place, in the first block or in the only one that uses them: they need no memory."""
        places, elsewhere, first = {}, set(), min(self.blocks)
        for label, block in self.blocks.items():
            for instruction in block.body:
                is_set = isinstance(instruction, ir.Assign)
                used = instruction.value if is_set else instruction
                for variable in [used] if isinstance(used, ir.Var) else used.list_vars() if isinstance(used, ir.Inst) else ():
                    if places.get(variable.name) not in (label, first):
                        elsewhere.add(variable.name)
                if is_set:
                    if instruction.target.name in places:
                        elsewhere.add(instruction.target.name)
                    places[instruction.target.name] = label
        self._singly_assigned_vars = places.keys() - elsewhere
        self._blk_local_varmap = {}

    def pre_lower(self):
        super().pre_lower()
        if self.flags.no_compile:
            self.function.linkage = "linkonce_odr"       # left out of an entry once it is inlined everywhere
            if not self.flags.forceinline:               # LLVM would inline what has one caller
                self.function.attributes.add("noinline")

    def lower_block(self, block):
        for instruction in block.body:
            self.loc = instruction.loc
            self.lower_inst(instruction)

    def alloca_lltype(self, name, lltype, datamodel=None):
        return cgutils.alloca_once(self.builder, lltype, name=name, zfill=False)

    def storevar(self, value, name, argidx=None):
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self._alloca_var(name, self.typeof(name))
            self.builder.store(value, self.getvar(name))

    def code_of(self, op, signature):
        key = op, signature.args
        if key not in self.known:
            function = self.context.typing_context.resolve_value_type(op)
            exact = function.get_call_type(self.context.typing_context, signature.args, {})
            self.known[key] = self.context.get_function(function, exact)._imp, exact
        generate, exact = self.known[key]
        return lambda builder, arguments: generate(self.context, builder, exact, arguments, loc=None)

    def operands(self, signature, *variables):
        return [self.context.cast(self.builder, self.loadvar(variable.name), self.typeof(variable.name), type_)
                for variable, type_ in zip(variables, signature.args)]

    def lower_binop(self, resty, expr, op):
        signature = self.fndesc.calltypes[expr]
        result = self.code_of(op, signature)(self.builder, self.operands(signature, expr.lhs, expr.rhs))
        return self.context.cast(self.builder, result, signature.return_type, resty)

    def lower_getitem(self, resty, expr, value, index, signature):
        array, at, *_ = signature.args
        if not is_row(array, at):
            result = self.code_of(operator.getitem, signature)(self.builder, self.operands(signature, value, index))
        else:
            place = self.element(array, at, *self.operands(signature, value, index))
            result = self.context.unpack_value(self.builder, array.dtype, place, align=None if array.aligned else 1)
        return self.context.cast(self.builder, result, signature.return_type, resty)

    def lower_setitem(self, target, index, value, signature):
        array, at, *_ = signature.args
        if not is_row(array, at):
            return self.code_of(operator.setitem, signature)(self.builder, self.operands(signature, target, index, value))
        known, number, new = self.operands(signature, target, index, value)
        new = self.context.cast(self.builder, new, signature.args[2], array.dtype)
        place = self.element(array, at, known, number)
        return self.context.pack_value(self.builder, array.dtype, new, place, align=None if array.aligned else 1)

    def element(self, array, at, known, number):
        """Where an element lies.  By default the whole of what is known of an array is stored for that, and read again."""
        field = self.context.data_model_manager[array].get_field_position
        if at.signed:                                    # from the end, if it is negative
            length = self.builder.extract_value(known, [field("shape"), 0])
            from_end = self.builder.add(number, length)
            number = self.builder.select(self.builder.icmp_signed("<", number, number.type(0)), from_end, number)
        return self.builder.gep(self.builder.extract_value(known, field("data")), [number])


def is_row(array, at) -> bool:
    """Whether an array has one dimension, of elements side by side, and is asked for one of them."""
    return isinstance(array, types.Array) and (array.ndim, array.layout) == (1, "C") and isinstance(at, types.Integer)


@register_pass(mutates_CFG=True, analysis_only=False)
class LowerKernel(typed_passes.NativeLowering):
    """Translate to LLVM's language."""

    _name = "kernels_lower"

    @property
    def lowering_class(self):
        return KernelLower


def called(description, library):
    """What a call of a kernel becomes, in the form in which Numba asks for it."""
    def generate(context, builder, _signature, arguments):
        return plainly(context).call_conv.call(builder, description, arguments)

    generate.libs = library,
    return generate


@register_pass(mutates_CFG=True, analysis_only=False)
class LeaveForEntries(LoweringPass):
    """Let callers find a kernel that has been translated, but has no machine code of its own."""

    _name = "kernels_leave_for_entries"

    def __init__(self):                                  # abstract in Numba
        super().__init__()

    def run_pass(self, state):
        lowered = state.cr
        description = lowered.fndesc
        name = description.qualname.split(".")[-1]
        no_address = 0                                   # Python cannot call a kernel, only an entry
        stand_in = _dynfunc.make_function(
            description.lookup_module(), name, "", no_address, lowered.env, (state["library"],))
        state.targetctx.insert_func_defn([(called(description, state["library"]), stand_in, description.argtypes)])
        state.cr = lowered._replace(cfunc=stand_in)
        return True


class KernelLibrary(JITCodeLibrary):
    """The LLVM module of one kernel, as it was translated: only for linking into entries."""

    def add_llvm_module(self, module):
        self._final_module = module

    def finalize(self):
        self._finalized = True

    def _get_module_for_linking(self):
        return self._final_module


class EntryLibrary(JITCodeLibrary):
    """The LLVM module of an entry: takes in all kernels that it calls, and those that they call."""

    def _optimize_functions(self, _module):
        """By default each function is optimized by itself, and once more inside what it is inlined into."""

    def finalize(self):
        libraries = list(self._linking_libraries)
        for library in libraries:                        # grows while it is walked
            if isinstance(library, KernelLibrary):
                libraries += [other for other in library._linking_libraries if other not in libraries]
        self._linking_libraries = libraries
        super().finalize()

    def _optimize_final_module(self):
        """Once and not twice, as nothing is counted that could be pruned in between; no loop of a kernel is for vectors."""
        passes, builder = self.codegen._module_pass_manager(opt=2, loop_vectorize=False, slp_vectorize=False)
        passes.run(self._final_module, builder)


@functools.cache
def passes(entry: bool) -> tuple:
    """What is done with a kernel, in turn."""
    return tuple(step() for step in (
        ReadByteCode, untyped_passes.FixupArgs, LookUpNames, InferTypes, LowerKernel,
        *(() if entry else (LeaveForEntries,)), typed_passes.NoPythonBackend))


class KernelCompiler(CompilerBase):
    """The passes that a kernel needs; an entry is a kernel with a way in from Python."""

    def __init__(self, *given):
        numba_known.load()
        super().__init__(*given)

    def _compile_core(self):
        """No garbage collection meanwhile: it would walk a growing tree of live objects again and again for nothing."""
        collecting = gc.isenabled()                      # not of a kernel inside an entry
        gc.disable()
        try:
            return self._through_passes()
        finally:
            if collecting:
                gc.enable()

    def _through_passes(self):
        state, is_entry = self.state, not self.state.flags.no_cpython_wrapper
        state.flags.no_compile = not is_entry
        made = (EntryLibrary if is_entry else KernelLibrary)(state.targetctx.codegen(), state.func_id.func_qualname)
        made.enable_object_caching()
        state["library"] = made
        state.typingctx = RememberingContext(state.typingctx)
        state.type_annotation = None
        if not is_entry:
            state.targetctx = plainly(state.targetctx)
        with ConfigStack().enter(state.flags.copy()):
            for step in passes(is_entry):
                step.run_pass(state)
        return state.cr
