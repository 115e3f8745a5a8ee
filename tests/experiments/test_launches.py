"""Launches of a compiled GPU program and their origins, on a small text as XLA writes them."""

import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import sngan_jax
from experiments.compiler.gpu import cost_of, update_of
from experiments.compiler.hlo import Function, Program
from experiments.compiler.launches import OPEN_LOOPS, launches_of
from experiments.compiler.origins import (
    CASTS,
    CHECKS,
    CONVOLUTIONS,
    NETWORKS,
    NORMALIZATION,
    OPTIMIZER,
    ORIGINS,
    REST,
    TABLE,
    module_of,
    of_stack,
    origin_of,
)
from experiments.compiler.targets import parse_target
from experiments.configs import digits
from sngan_jax.base.errors import UserError

# Frames: 1 iteration, 2 a normalized convolution, 3 its σ (called from 2), 4 Adam, 5 a check, 6 the
# walk, 7 ReLU in a network.
TEXT = (Path(__file__).parent / "program.hlo").read_text()


def test_computations_and_stacks():
    program = Program(TEXT)
    assert program.entry == "main.2" and set(program.computations) == {
        "fused_sigma", "fused_adam", "fused_cast", "fused_own_cast", "fused_relu", "walk_body",
        "walk_condition", "never", "steps", "update", "main.2"}
    assert program.functions(0) == ()
    assert [function.name for function in program.functions(3)] == [
        "operator_power_iteration", "_Conv.__call__", "train_iteration"]
    assert program.functions(3)[0].file == "/home/a/sngan_jax/spectral.py"
    (loop,) = (one for one in program.computations["main.2"] if one.opcode == "while")
    assert (loop.body, loop.condition, loop.trips) == ("update", "never", 5)


def test_a_loop_counts_as_often_as_the_text_says():
    launches = launches_of(Program(TEXT))
    # Two casts, a copy, an all-reduce and a ReLU; five times σ, a convolution, Adam, and two steps.
    assert (launches.entry, launches.of_body("while.2")) == (5, 5)
    assert launches.total == 5 + 5 * 5 and launches.loops == {"while.2": 5}
    assert update_of(launches, 5) == "while.2" and update_of(launches, 1) == ""
    # The walk: body, condition, and what the host reads.
    assert launches.open == [("epoch_permutation", 3, 5)]


def test_the_origin_of_each_launch():
    program = Program(TEXT)
    found = {one.instruction.name: origin_of(program, one.instruction)
             for one in launches_of(program).counted}
    assert found == {
        "fusion.1": NORMALIZATION, "fusion.7": NORMALIZATION, "conv.1": CONVOLUTIONS,
        "fusion.2": OPTIMIZER,  # the check rides with it
        "fusion.3": CASTS, "copy.1": CASTS, "fusion.4": NORMALIZATION, "all-reduce-start.1": REST,
        "fusion.5": NETWORKS}


class Compiled:
    """A stand-in for XLA's compiled program, with what the launches need."""

    def __init__(self, text):
        self.as_text = lambda: text


def test_the_origins_of_a_record_add_up():
    config = digits.get_config()
    config.n_dis = 5
    record = cost_of(Compiled(TEXT), config, parse_target("h100"))
    rows = record["launches_by_origin"]
    assert tuple(rows) == ORIGINS and rows[NORMALIZATION] == [1, 3, 16]
    for once, update, total in rows.values():
        assert total == once + 5 * update
    assert record["launches"] == sum(row[2] for row in rows.values()) == 30
    assert (record["all_reduces"], record["all_reduce_bytes"]) == (1, 32)
    assert record["launches_by_kind"] == {
        "fusion": 23, "__cudnn$convForward": 5, "copy": 1, "all-reduce-start": 1}
    config.n_dis = 3  # no loop of three: every launch counts once
    record = cost_of(Compiled(TEXT), config, parse_target("h100"))
    assert (record["launches"], record["launches_of_an_update"]) == (30, 0)


def test_a_loop_that_does_not_say_how_often_is_an_error():
    text = TEXT.replace(', backend_config={"known_trip_count":{"n":"2"}}', "")
    with pytest.raises(UserError, match=r"loop, while\.3 .*cannot be counted"):
        launches_of(Program(text))
    text = TEXT.replace('6 "epoch_permutation"', '6 "my_own_search"')
    with pytest.raises(UserError, match=r"loop, while\.1 \(jit\(_fun\)/while\)"):
        launches_of(Program(text))


def test_a_branch_is_an_error():
    text = TEXT.replace("%copy.1 = f32[8]{0} copy(%a)", "%conditional.1 = f32[8]{0} "
                        "conditional(%a), branch_computations={%never, %never}")
    with pytest.raises(UserError, match="branch, conditional"):
        launches_of(Program(text))


# As Pallas on Triton has it.
KERNEL = (r'%pallas_call.1 = f32[8]{0} custom-call(%a), custom_call_target="__gpu$xla.gpu.triton", '
          r'api_version=API_VERSION_TYPED_FFI, metadata={op_name="jit(f)/NAME/pallas_call"}, '
          r'backend_config={grid_x = 4 : i32, ir = "ML\EFR\0DMLIR\00name\00", name = "NAME", '
          r'num_stages = 3 : i32, num_warps = 2 : i32}')


def test_a_kernel_of_ones_own_counts_by_its_stages():
    def total(name):
        return launches_of(Program(TEXT.replace(
            "%copy.1 = f32[8]{0} copy(%a)", KERNEL.replace("NAME", name)))).total

    assert total("sigma_stages_1") == 30 and total("sigma_stages_4") == 33
    for name in ("sigma", "sigma_stages_0"):
        with pytest.raises(UserError, match=f"'{name}'.*end its name with _stages_N"):
            total(name)


def test_an_asynchronous_computation_counts_by_what_it_holds():
    text = TEXT.replace("%copy.1 = f32[8]{0} copy(%a)", "%async-start.1 = ((f32[8]{0}), f32[8]{0}) "
                        "async-start(%a), calls=%steps")
    assert launches_of(Program(text)).total == 30


@pytest.mark.parametrize(("file", "module"), [
    ("/a/sngan_jax/sngan_jax/step/iteration.py", "sngan_jax.step.iteration"),
    ("/x/site-packages/optax/_src/transform.py", "optax._src.transform"),
    ("/x/site-packages/jax/numpy.py", ""), ("step.py", "")])
def test_modules_of_files(file, module):
    assert module_of(file) == module


def test_a_function_of_another_package_has_no_name_here():
    assert of_stack((Function("/x/site-packages/other/a.py", "update_player"),)) == REST
    mine = Function("/x/sngan_jax/step/other.py", "f.<locals>.update_player")
    assert of_stack((mine,)) == OPTIMIZER
    assert of_stack((Function("/x/sngan_jax/step/checks.py", "first_raised"),)) == CHECKS


def qualified_names(module):
    """Names of all functions in a module's source, without the enclosing ones."""
    import ast

    found = set()

    def visit(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, f"{child.name}.")
            elif isinstance(child, ast.FunctionDef):
                found.add(f"{prefix}{child.name}")
                visit(child, "")
            else:
                visit(child, prefix)

    visit(ast.parse(Path(importlib.util.find_spec(module).origin).read_text()), "")
    return found


def test_every_name_of_the_table_is_still_in_the_code():
    there = set()
    for module in pkgutil.walk_packages(sngan_jax.__path__, "sngan_jax."):
        there |= qualified_names(module.name)
    for origin, names in TABLE:
        for module in names.modules:
            assert importlib.util.find_spec(module), (
                f"{module} of {origin!r} is no module any more: give experiments/compiler/"
                "origins.py its new name")
        for function in names.functions:
            assert function in there, (
                f"{function} of {origin!r} is no function of sngan_jax any more: give "
                "experiments/compiler/origins.py its new name")
    assert set(OPEN_LOOPS) <= there, "experiments/compiler/launches.py names a loop that is gone"
