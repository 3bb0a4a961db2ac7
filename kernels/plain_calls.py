"""How kernels call each other: arguments in, a value out.

By default each call hands over where to put the value and where to put an exception, and looks at a status behind it.
A kernel raises nothing: LLVM finds that out call by call, which takes a good part of the time of compiling.
"""

from llvmlite import ir

from numba.core.callconv import BaseCallConv
from numba.core.cpu import CPUContext


class PlainCalls(BaseCallConv):

    def _make_call_helper(self, builder):
        return None

    def get_function_type(self, result, arguments):
        taken = self._get_arg_packer(arguments).argument_types
        return ir.FunctionType(self.context.data_model_manager[result].get_return_type(), list(taken))

    def decorate_function(self, *_function, **_names):
        pass

    def get_arguments(self, function):
        return function.args

    def return_value(self, builder, value):
        builder.ret(value)

    def return_user_exc(self, builder, *_exception, **_where):
        """Such as range() with a step of zero: never."""
        builder.unreachable()

    def call(self, builder, description, arguments):
        """The value of a kernel that is described so."""
        function = self.context.declare_function(builder.module, description)
        taken = self._get_arg_packer(description.argtypes).as_arguments(builder, arguments)
        return self.context.get_returned_value(builder, description.restype, builder.call(function, taken))


class PlainContext(CPUContext):
    """Numba's context of one function, which calls and is called so."""

    @property
    def call_conv(self):
        return PlainCalls(self)


def plainly(context):
    """A context like another, but for that."""
    plain = context.subtarget()
    plain.__class__ = PlainContext
    return plain
