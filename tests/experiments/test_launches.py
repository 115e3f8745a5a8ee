"""Launches of a compiled GPU program and their origins, on a small text of XLA's form."""

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
    NORMALISATION,
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
from sngan_jax.errors import UserError

# Frames: 1 iteration, 2 a normalised convolution, 3 its σ (called from 2), 4 Adam, 5 a check, 6 the
# walk, 7 ReLU in a network.
TEXT = r'''HloModule jit_iteration, is_scheduled=true

FileNames
1 "/home/a/sngan_jax/train/step.py"
2 "/site-packages/flax/linen/linear.py"
3 "/home/a/sngan_jax/spectral.py"
4 "/home/a/sngan_jax/train/health.py"
5 "/home/a/sngan_jax/data/pipeline.py"
6 "/home/a/sngan_jax/models/resnet.py"

FunctionNames
1 "train_iteration"
2 "_Conv.__call__"
3 "operator_power_iteration"
4 "train_iteration.<locals>.adam_step"
5 "flags_of_looks.<locals>.<listcomp>"
6 "epoch_permutation"
7 "ResNetDiscriminator.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=10 end_line=11 column=19 end_column=80}
2 {file_name_id=2 function_name_id=2 line=20 end_line=20 column=1 end_column=2}
3 {file_name_id=3 function_name_id=3 line=30 end_line=30 column=1 end_column=2}
4 {file_name_id=1 function_name_id=4 line=40 end_line=40 column=1 end_column=2}
5 {file_name_id=4 function_name_id=5 line=50 end_line=50 column=1 end_column=2}
6 {file_name_id=5 function_name_id=6 line=60 end_line=60 column=1 end_column=2}
7 {file_name_id=6 function_name_id=7 line=70 end_line=70 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=3}
4 {file_location_id=4 parent_frame_id=2}
5 {file_location_id=5 parent_frame_id=2}
6 {file_location_id=6 parent_frame_id=2}
7 {file_location_id=7 parent_frame_id=2}

%fused_sigma (p.0: f32[8]) -> f32[] {
  %p.0 = f32[8]{0} parameter(0)
  %multiply.1 = f32[8]{0} multiply(%p.0, %p.0), metadata={op_name="jit(_fun)/mul" stack_frame_id=3}
  ROOT %reduce.1 = f32[] reduce(%multiply.1), metadata={op_name="jit(_fun)/sum" stack_frame_id=3}
}

%fused_adam (p.1: f32[8]) -> (f32[8], pred[]) {
  %p.1 = f32[8]{0} parameter(0)
  %add.1 = f32[8]{0} add(%p.1, %p.1), metadata={op_name="jit(_fun)/add" stack_frame_id=4}
  %add.2 = f32[8]{0} add(%add.1, %p.1), metadata={op_name="jit(_fun)/add" stack_frame_id=4}
  %reduce.2 = pred[] reduce(%add.2), metadata={op_name="jit(_fun)/all" stack_frame_id=5}
  ROOT %tuple.1 = (f32[8]{0}, pred[]) tuple(%add.2, %reduce.2)
}

%fused_cast (p.2: f32[8]) -> bf16[8] {
  %p.2 = f32[8]{0} parameter(0)
  ROOT %convert.1 = bf16[8]{0} convert(%p.2), metadata={op_name="jit(_fun)/cast" stack_frame_id=2}
}

%fused_own_cast (p.3: bf16[8]) -> f32[8] {
  %p.3 = bf16[8]{0} parameter(0)
  ROOT %convert.2 = f32[8]{0} convert(%p.3), metadata={op_name="jit(_fun)/cast" stack_frame_id=3}
}

%fused_relu (p.4: f32[8]) -> f32[8] {
  %p.4 = f32[8]{0} parameter(0)
  ROOT %maximum.1 = f32[8]{0} maximum(%p.4, %p.4), metadata={op_name="jit(_fun)/max" stack_frame_id=7}
}

%walk_body (w: (u32[8], pred[8])) -> (u32[8], pred[8]) {
  %w = (u32[8]{0}, pred[8]{0}) parameter(0)
  ROOT %fusion.9 = (u32[8]{0}, pred[8]{0}) fusion(%w), kind=kLoop, calls=%fused_relu
}

%walk_condition (c: (u32[8], pred[8])) -> pred[] {
  %c = (u32[8]{0}, pred[8]{0}) parameter(0)
  ROOT %fusion.8 = pred[] fusion(%c), kind=kInput, calls=%fused_relu
}

%never (n: s32[]) -> pred[] {
  ROOT %compare.1 = pred[] compare(%n, %n), direction=LT
}

%steps (s: (f32[8], s32[])) -> (f32[8], s32[]) {
  %s = (f32[8]{0}, s32[]) parameter(0)
  %fusion.7 = f32[] fusion(%s), kind=kInput, calls=%fused_sigma, metadata={stack_frame_id=3}
  ROOT %tuple.7 = (f32[8]{0}, s32[]) tuple(%fusion.7)
}

%update (u: (f32[8], s32[])) -> (f32[8], s32[]) {
  %u = (f32[8]{0}, s32[]) parameter(0)
  %g.1 = f32[8]{0} get-tuple-element(%u), index=0
  %fusion.1 = f32[] fusion(%g.1), kind=kInput, calls=%fused_sigma, metadata={stack_frame_id=3}
  %conv.1 = (f32[8]{0}, u8[0]{0}) custom-call(%g.1), custom_call_target="__cudnn$convForward", metadata={op_name="jit(_fun)/conv" stack_frame_id=2}
  %while.1 = (u32[8]{0}, pred[8]{0}) while(%g.1), condition=%walk_condition, body=%walk_body, metadata={op_name="jit(_fun)/while" stack_frame_id=6}
  %while.3 = (f32[8]{0}, s32[]) while(%g.1), condition=%never, body=%steps, backend_config={"known_trip_count":{"n":"2"}}
  %fusion.2 = (f32[8]{0}, pred[]) fusion(%g.1), kind=kLoop, calls=%fused_adam, metadata={stack_frame_id=5}
  ROOT %tuple.2 = (f32[8]{0}, s32[]) tuple(%fusion.2)
}

ENTRY %main.2 (a: f32[8], /*index=1*/b: s32[]) -> (f32[8], pred[]) {
  %a = f32[8]{0} parameter(0)
  %bitcast.1 = f32[8]{0:T(128)} bitcast(%a)
  %fusion.3 = bf16[8]{0} fusion(%a), kind=kLoop, calls=%fused_cast
  %fusion.4 = f32[8]{0} fusion(%fusion.3), kind=kLoop, calls=%fused_own_cast
  %copy.1 = f32[8]{0} copy(%a)
  %all-reduce-start.1 = f32[8]{0} all-reduce-start(%a), to_apply=%never, metadata={op_name="jit(_fun)/psum" stack_frame_id=1}
  %all-reduce-done.1 = f32[8]{0} all-reduce-done(%all-reduce-start.1)
  %while.2 = (f32[8]{0}, /*index=1*/s32[]) while(%a), condition=%never, body=%update, metadata={op_name="jit(_fun)/while"}, backend_config={"known_trip_count":{"n":"5"},"known_init_step":{"init":"0","step":"1"}}
  ROOT %fusion.5 = f32[8]{0} fusion(%a), kind=kLoop, calls=%fused_relu
}
'''


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
        "fusion.1": NORMALISATION, "fusion.7": NORMALISATION, "conv.1": CONVOLUTIONS,
        "fusion.2": OPTIMIZER,  # the check rides with it
        "fusion.3": CASTS, "copy.1": CASTS, "fusion.4": NORMALISATION, "all-reduce-start.1": REST,
        "fusion.5": NETWORKS}


class Compiled:
    """What XLA returns, as far as the launches go."""

    def __init__(self, text):
        self.as_text = lambda: text


def test_the_origins_of_a_record_add_up():
    config = digits.get_config()
    config.n_dis = 5
    record = cost_of(Compiled(TEXT), config, parse_target("h100"))
    rows = record["launches_by_origin"]
    assert tuple(rows) == ORIGINS and rows[NORMALISATION] == [1, 3, 16]
    for once, update, total in rows.values():
        assert total == once + 5 * update
    assert record["launches"] == sum(row[2] for row in rows.values()) == 30
    assert record["launches_by_kind"] == {
        "fusion": 23, "__cudnn$convForward": 5, "copy": 1, "all-reduce-start": 1}
    config.n_dis = 3  # no such loop: all is counted, and nothing is of an update
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
        with pytest.raises(UserError, match=f"'{name}'.*end its name with _stages_1"):
            total(name)


def test_an_asynchronous_computation_counts_by_what_it_holds():
    text = TEXT.replace("%copy.1 = f32[8]{0} copy(%a)", "%async-start.1 = ((f32[8]{0}), f32[8]{0}) "
                        "async-start(%a), calls=%steps")
    assert launches_of(Program(text)).total == 30


@pytest.mark.parametrize(("file", "module"), [
    ("/a/sngan_jax/sngan_jax/train/step.py", "sngan_jax.train.step"),
    ("/x/site-packages/optax/_src/transform.py", "optax._src.transform"),
    ("/x/site-packages/jax/numpy.py", ""), ("step.py", "")])
def test_modules_of_files(file, module):
    assert module_of(file) == module


def test_a_function_of_another_package_has_no_name_here():
    assert of_stack((Function("/x/site-packages/other/a.py", "adam_step"),)) == REST
    assert of_stack((Function("/x/sngan_jax/train/other.py", "f.<locals>.adam_step"),)) == OPTIMIZER
    assert of_stack((Function("/x/sngan_jax/train/health.py", "norm"),)) == CHECKS


def qualified_names(module):
    """Names of all functions of a module's source, without what they are inside of."""
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
