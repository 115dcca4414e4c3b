"""Every private name of another package that keras_trt uses, with what it is for.

An owner is a module or class by its path, a sample of `test_private_names.py` in angle brackets, or empty for
what is there at times only and may be missing. `takes` has the first parameters of a function that is called.
A name may be one of an f-string, as it is written; `stands_for` has one that it makes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """One private name.

    Attributes:
        owner: What has it.
        name: The name.
        why: What it is for here.
        takes: Parameters that a function of this name must begin with, without `self`.
        stands_for: What the name is called in an owner, where it is made by an f-string.
    """

    owner: str
    name: str
    why: str
    takes: str | None = None
    stands_for: str = ""


# Texts that begin with `_` and are no names of others: parts of names we make, and our marks on functions and
# classes that are read in another file than they are made in; the last two are Python's, of named tuples, and
# zsh's, in a script for it.
OURS = {
    *("__inner", "__low", "__moved", "__nchw", "__old", "__scaled", "_amax", "_axis", "_axis_"),
    *("_axis_0", "_inner", "_key", "_mask", "_nchw", "_probabilities", "_quantizer"),
    *("_quantizer_", "_query", "_structure", "_switch", "_tuples", "_SwitchN"),
    *("_copied_variables", "_failed", "_float_class", "_stands_still", "_waiting"),
    "_replace",
    "_files",
}

# Members of classes of ours that are called as something of another package is, and never handed to it.
COINCIDENCES = {
    "_built": "GpuRunners, beside a layer of tf_keras's",
    "_call": "_Rewiring, beside tf.function",
    "_consumers": "LayerGraph, beside a variable of TensorFlow's",
    "_inputs": "Slot, beside a Functional model",
    "_lock": "Histogram and ChannelFit, beside layers",
    "_outputs": "RoundingNoise and Contexts, beside a Functional model",
    "_path": "_Rewiring, beside a layer",
    "_shape": "OpenOutput, beside a variable",
}
_CALLS = "the calls of a layer, left out of its copy and made anew"
_COMPILED = "what `compile` sets, left out of a copy"
_ATTENTION = "attention with a quantiser before each product"
_HIDDEN = "the variable behind a property of Keras 3 (LoRA, quantisation)"
_HOOKS = "whether `fit` must call a callback for every batch"
_FUNCTION = "a copy of a loaded function with its variables"
_KERAS_CONVERT = "tensorflow.python.framework.convert_to_constants"
_TF_FUNCTION = "tensorflow.python.eager.polymorphic_function.polymorphic_function:Function"

NAMES = [
    # Keras 3.
    Name("<sequential keras>", "_functional", "the graph of a Sequential"),
    Name("<functional keras>", "_nodes_by_depth", "the calls of a Functional model"),
    Name("<functional keras>", "_inputs_struct", "the nest of inputs"),
    Name("<functional keras>", "_outputs_struct", "the nest of outputs"),
    Name("<functional keras>", "_layers", "the list of sublayers, from which a rebuilt one is taken"),
    Name("<functional keras>", "_nodes", "names calls by the ids of layers; a copy gets its own"),
    Name("<layer keras>", "_tracker", "unlocked while a layer gets a quantiser"),
    Name("<layer keras>", "_layers", "the list of sublayers"),
    Name("<layer keras>", "_flatten_layers", "the layers inside a layer", takes="include_self, recursive"),
    Name("<layer keras>", "_track_trackable", "a quantiser in checkpoints", takes="trackable, name"),
    Name("<layer keras>", "_dtype_policy", "mixed-precision layers are traced in float32"),
    Name("<layer keras>", "_inbound_nodes", _CALLS),
    Name("<layer keras>", "_outbound_nodes", _CALLS),
    Name("<layer keras>", "_trainable", "the flag of a model, without those of its layers"),
    Name("<tensor keras>", "_keras_history", "the call that made a symbolic tensor"),
    Name("<variable keras>", "_value", "TensorFlow's variable in Keras's"),
    Name("<optimizer keras>", "_variables", "the list of its state, to which that of new weights comes"),
    Name("<optimizer keras>", "_iterations", "batches trained, also where gradients are accumulated"),
    Name("<optimizer keras>", "_model_variables_moving_average", "averages are masked, too"),
    Name("<optimizer keras>", "_trainable_variables", "whose masks are noted, where a step is given none"),
    Name(
        "<optimizer keras>",
        "_update_model_variables_moving_average",
        "where averages are updated",
        takes="trainable_variables",
    ),
    Name("<optimizer keras>", "_trainable_variables_indices", "an optimizer's numbers of variables"),
    Name("<optimizer keras>", "_var_key", "under which an optimizer has a variable", takes="variable"),
    Name("<subclassed keras>", "_build_shapes_dict", "the shapes that a subclassed model was built for"),
    Name("keras.src.layers.layer:Layer", "_post_build", "runs after `build`", takes=""),
    Name("", "_torch_params", "the lists that PyTorch's `parameters()` reads; not there on other backends"),
    Name("", "_track_variables", "makes these lists anew"),
    Name("<attention keras>", "_flash_attention", "says that Keras computes attention in one operation"),
    Name("<attention keras>", "_dropout", _ATTENTION),
    Name("<attention keras>", "_dropout_layer", _ATTENTION),
    Name("<attention keras>", "_key_dim", _ATTENTION),
    Name("<attention keras>", "_value_dim", _ATTENTION),
    Name("<attention keras>", "_attention_axes", _ATTENTION),
    Name("<attention keras>", "_dot_product_equation", _ATTENTION),
    Name("<attention keras>", "_combine_equation", _ATTENTION),
    Name("<attention keras>", "_masked_softmax", _ATTENTION, takes="attention_scores, attention_mask"),
    Name("<attention keras>", "_compute_attention", _ATTENTION, takes="query, key, value"),
    Name("<attention keras>", "_compute_causal_mask", _ATTENTION, takes="query, value"),
    Name("<attention keras>", "_kernel_constraint", "where it keeps what it hands to its sub-layers"),
    Name(
        "<upsampling keras>",
        "_resize_images",
        "images of open sizes",
        takes="x, height_factor, width_factor, data_format, interpolation",
    ),
    Name("<layer keras>", "_{kernel.name}", _HIDDEN, stands_for="_kernel"),
    Name("<embedding keras>", "_{kernel.name}", _HIDDEN, stands_for="_embeddings"),
    Name("keras:layers.Layer.get_config", "_is_default", "marks a `get_config` that Keras writes itself"),
    Name("keras:callbacks.Callback.on_batch_end", "_is_default", "marks a hook that does nothing"),
    Name("<compiled keras>", "_compile_loss", _COMPILED),
    Name("<compiled keras>", "_compile_metrics", _COMPILED),
    Name("<compiled keras>", "_loss_tracker", _COMPILED),
    Name("<compiled keras>", "_run_eagerly", _COMPILED),
    Name("<compiled keras>", "_jit_compile", _COMPILED),
    Name("<compiled keras>", "_compile_config", _COMPILED),
    Name("", "_compiled_trainable_state", _COMPILED),
    Name("", "_eval_epoch_iterator", "there while `fit` runs; left out of a copy"),
    # tf_keras.
    Name("<functional tf_keras>", "_is_graph_network", "says that a model has a graph of layers"),
    Name("<functional tf_keras>", "_nodes_by_depth", "the calls of a Functional model"),
    Name("<functional tf_keras>", "_nested_inputs", "the nest of inputs"),
    Name("<functional tf_keras>", "_nested_outputs", "the nest of outputs"),
    Name("<functional tf_keras>", "_input_layers", "the order of inputs in a rebuilt model"),
    Name("<functional tf_keras>", "_network_nodes", "a copy's own names of calls"),
    Name("<functional tf_keras>", "_input_coordinates", "a copy's own inputs"),
    Name("<functional tf_keras>", "_output_coordinates", "a copy's own outputs"),
    Name("<functional tf_keras>", "_tensor_usage_count", "a copy's own tensors, by their ids"),
    Name("<functional tf_keras>", "_expects_training_arg", "says whether `training` may be passed"),
    Name("<layer tf_keras>", "_name", "names of layers in a rebuilt model"),
    Name("<layer tf_keras>", "_dtype_policy", "mixed-precision layers are traced in float32"),
    Name("<layer tf_keras>", "_compute_dtype_object", "its copy in the layer"),
    Name("<layer tf_keras>", "_inbound_nodes_value", _CALLS),
    Name("<layer tf_keras>", "_outbound_nodes_value", _CALLS),
    Name("<layer tf_keras>", "_obj_reference_counts_dict", "how often each object is an attribute"),
    Name("<layer tf_keras>", "_self_unconditional_checkpoint_dependencies", "what checkpoints follow"),
    Name("<layer tf_keras>", "_self_unconditional_dependency_names", "what checkpoints follow"),
    Name("<node tf_keras>", "_keras_inputs_ids_and_indices", "a copy's own tensors, by their ids"),
    Name("<tensor tf_keras>", "_keras_history", "the call that made a symbolic tensor"),
    Name("<normalization tf_keras>", "_fused", "normalisation written as the arithmetic it is"),
    Name("<rnn tf_keras>", "_process_inputs", "states of recurrent layers", takes="inputs, initial_state"),
    Name("<attention tf_keras>", "_dropout", _ATTENTION),
    Name("<attention tf_keras>", "_dropout_layer", _ATTENTION),
    Name("<attention tf_keras>", "_dot_product_equation", _ATTENTION),
    Name("<attention tf_keras>", "_combine_equation", _ATTENTION),
    Name("<attention tf_keras>", "_masked_softmax", _ATTENTION, takes="attention_scores, attention_mask"),
    Name("<attention tf_keras>", "_compute_attention", _ATTENTION, takes="query, key, value"),
    Name("<attention tf_keras>", "_build_from_signature", "builds its sub-layers", takes="query, value"),
    Name("tf_keras:layers.Layer.build", "_is_default", "marks a `build` that makes nothing"),
    Name("tf_keras:layers.Layer.get_config", "_is_default", "marks a `get_config` that Keras writes itself"),
    Name("<callback tf_keras>", "_supports_tf_logs", "logs of batches may stay on the device"),
    Name("<callback tf_keras>", "_chief_worker_only", "whether a callback runs on one worker only"),
    Name("<callback tf_keras>", "_implements_train_batch_hooks", _HOOKS, takes=""),
    Name("<callback tf_keras>", "_implements_test_batch_hooks", _HOOKS, takes=""),
    Name("<callback tf_keras>", "_implements_predict_batch_hooks", _HOOKS, takes=""),
    Name("<attention tf_keras>", "_key_dim", _ATTENTION),
    Name("<attention tf_keras>", "_value_dim", _ATTENTION),
    Name("<attention tf_keras>", "_attention_axes", _ATTENTION),
    Name("<optimizer tf_keras>", "_variables", "the list of its state, to which that of new weights comes"),
    Name("", "_built", "whether an optimizer of tf_keras knows its weights; not there before"),
    Name("<optimizer tf_keras>", "_index_dict", "an optimizer's numbers of variables"),
    Name("<optimizer tf_keras>", "_model_variables_moving_average", "averages are masked, too"),
    Name(
        "<optimizer tf_keras>",
        "_update_model_variables_moving_average",
        "where averages are updated",
        takes="var_list",
    ),
    Name("<cast tf_keras>", "_variable", "the variable behind one that is read in another type"),
    Name("<compiled tf_keras>", "_is_compiled", _COMPILED),
    Name("<compiled tf_keras>", "_training_state", _COMPILED),
    Name("<compiled tf_keras>", "_steps_per_execution", _COMPILED),
    Name("", "_steps_per_execution_tuner", _COMPILED),
    Name("", "_pss_evaluation_shards", _COMPILED),
    Name("", "_eval_data_handler", "there while `fit` runs; left out of a copy"),
    # keras-hub.
    Name("", "_build_cache", "the cache of a language model; asked for, with an error where it is missing"),
    # TF-MOT.
    Name("<tfmot>", "_weight_vars", "the weights that TF-MOT quantised"),
    Name("<tfmot>", "_output_quantizers", "the ranges it learned"),
    Name("<tfmot>", "_output_quantizer_vars", "the ranges it learned"),
    Name("<tfmot>", "_quantize_activations", "the ranges it learned"),
    Name("", "_should_post_quantize", "whether an activation of TF-MOT rounds its output"),
    Name("", "_post_activation_vars", "the range of an activation of TF-MOT"),
    # TensorFlow.
    Name(_KERAS_CONVERT, "_ConverterData", "freezing without a copy of the weights", takes="graph_def"),
    Name(_KERAS_CONVERT, "_TensorData", "freezing", takes="numpy, dtype, index"),
    Name(_KERAS_CONVERT, "_replace_variables_by_constants", "freezing", takes="converter_data"),
    Name(
        _KERAS_CONVERT,
        "_run_inline_graph_optimization",
        "functions inlined before freezing",
        takes="func, lower_control_flow, aggressive_inlining",
    ),
    Name("<gradients>", "_registry", "gradients of traced graphs, forgotten when these are done"),
    Name("", "_gradient_op_type", "an attribute of nodes, with the name of their gradient"),
    Name("", "_XlaMustCompile", "an attribute of nodes, taken off so that calls are inlined"),
    Name("", "_noinline", "an attribute of nodes, taken off so that calls are inlined"),
    Name("", "_class", "an attribute of nodes that names another node, taken off"),
    Name("tensorflow", "__internal__.autograph", "control flow of a user's functions, converted or not"),
    Name("tensorflow:__internal__.autograph", "control_status_ctx", "whether it is converted now", takes=""),
    Name("tensorflow:__internal__.autograph", "tf_convert", "converts it", takes="f, ctx"),
    Name("tensorflow", "__internal__.tracking.AutoTrackable", "attributes that TensorFlow follows"),
    Name("", "_tfg_inlined_", "how TensorFlow names the nodes of an inlined call"),
    Name(_TF_FUNCTION, "_clone", "a `tf.function` without its traces", takes="python_function"),
    Name("<function>", "_descriptor_cache", "`tf.function`s bound to a model, with their traces"),
    Name("<concrete>", "_function_type", _FUNCTION),
    Name(
        "<concrete>", "_call_flat", "overridden: a tape watches the copied variables", takes="tensor_inputs"
    ),
    Name("<concrete>", "_first_order_tape_functions", _FUNCTION),
    Name("<concrete>", "_higher_order_tape_functions", _FUNCTION),
    Name("<concrete>", "_captured_inputs", _FUNCTION),
    Name("<graph>", "_weak_variables", _FUNCTION),
    Name("<function>", "_default_values", _FUNCTION),
    Name("<variable>", "_constraint", "a mask on a copied variable"),
    Name("tensorflow.python.trackable.data_structures", "_DictWrapper", "what becomes of a dict attribute"),
    Name("tensorflow.python.trackable.data_structures", "_TupleWrapper", "what becomes of a tuple"),
    Name("tensorflow.python.util.object_identity", "_ObjectIdentityWrapper", "copied with its object"),
    Name("tensorflow.python.saved_model.signature_serialization", "_SignatureMap", _FUNCTION),
    # tf2onnx.
    Name("tf2onnx.handler:tf_op", "_MAPPING", "put back after a conversion"),
    Name("tf2onnx.handler:tf_op", "_DOMAIN_MAPPING", "put back after a conversion"),
    Name("tf2onnx.optimizer", "_get_optimizers", "the optimisers, of which three are left out", takes=""),
    Name("tf2onnx.optimizer:TransposeOptimizer", "_optimize", "runs one", takes="graph"),
    Name(
        "tf2onnx.optimizer:TransposeOptimizer",
        "_optimize_at_current_graph_level",
        "overridden: starts over at the first node after every step",
        takes="graph",
    ),
    Name("<transposes>", "_g", "the graph that it works on"),
    Name("tf2onnx.optimizer:TransposeOptimizer", "_handle_nhwc_tranpose", "moves one", takes="trans"),
    Name("tf2onnx.optimizer:TransposeOptimizer", "_remove_useless_tranpose", "removes one", takes="trans"),
    Name("tf2onnx.optimizer:TransposeOptimizer", "_mul_handler", "overridden: squares", takes="trans, node"),
    Name(
        "tf2onnx.optimizer:TransposeOptimizer",
        "_switch_transpose_and_node",
        "overridden: slices",
        takes="node, trans, update_shape",
    ),
    Name("tf2onnx.optimizer:TransposeOptimizer", "_add_handler", "overridden: names", takes="trans, node"),
    Name("tf2onnx.optimizer.back_to_back_optimizer", "_func_map", "what merges two Casts"),
    Name(
        "tf2onnx.optimizer:BackToBackOptimizer",
        "_optimize_at_current_graph_level",
        "overridden: merges Casts only where that loses nothing",
        takes="g",
    ),
]

_CONVERSION = "a conversion; `convert/tf2onnx_seam.py` only"

IMPORTS = {
    "keras.src.backend:core": "where `keras.ops` finds `scan` and `switch`",
    "keras.src.backend.common:global_state": "whether Keras is training now",
    "keras.src.backend.common.variables:AutocastScope": "a variable's own type, read on JAX and PyTorch",
    "keras.src.models.functional:Functional": "the class of models with a graph of layers",
    "keras.src.models.functional:functional_like_constructor": "classes built from inputs and outputs",
    "keras.src.ops.function:make_node_key": "how a model names its calls",
    "keras.src.utils.tracking:Tracker": "what sorts a layer's attributes",
    "onnx.reference:ReferenceEvaluator": "arithmetic on weights",
    "tensorflow.core.framework.function_pb2:FunctionDef": "the type of a function of a graph",
    "tensorflow.core.protobuf:config_pb2": "options of TensorFlow's own graph passes",
    "tensorflow.core.protobuf:meta_graph_pb2": "a graph for TensorFlow's own passes",
    "tensorflow.python.compiler.tensorrt:trt_convert": "TF-TRT, up to TensorFlow 2.17",
    "tensorflow.python.eager.polymorphic_function:concrete_function": _FUNCTION,
    "tensorflow.python.eager.polymorphic_function:polymorphic_function": _FUNCTION,
    "tensorflow.python.eager.polymorphic_function:tf_method_target": _FUNCTION,
    "tensorflow.python.framework:convert_to_constants": "freezing",
    "tensorflow.python.framework:op_def_registry": "what operators take and make",
    "tensorflow.python.framework:ops": "the register of gradients",
    "tensorflow.python.framework:tensor_util": "arrays of constants",
    "tensorflow.python.grappler:tf_optimizer": "inlining of calls",
    "tensorflow.python.ops.resource_variable_ops:variable_accessed": _FUNCTION,
    "tensorflow.python.saved_model:function_deserialization": _FUNCTION,
    "tensorflow.python.saved_model:signature_serialization": _FUNCTION,
    "tensorflow.python.trackable:base": "attributes that TensorFlow follows",
    "tensorflow.python.trackable:data_structures": "attributes that TensorFlow follows",
    "tensorflow.python.trackable:layer_utils": "attributes that TensorFlow follows",
    "tensorflow.python.util:object_identity": "attributes that TensorFlow follows",
    "tf2onnx.handler:tf_op": _CONVERSION,
    "tf2onnx.optimizer:back_to_back_optimizer": _CONVERSION,
    "tf2onnx.optimizer:einsum_optimizer": _CONVERSION,
    "tf2onnx.optimizer:transpose_optimizer": _CONVERSION,
    "tf2onnx.utils:map_onnx_to_numpy_type": _CONVERSION,
    "tf2onnx:constants": _CONVERSION,
    "tf2onnx:optimizer": _CONVERSION,
    "tf2onnx:tf_utils": _CONVERSION,
    "tf2onnx:tfonnx": _CONVERSION,
    "tf_keras.src.engine.functional:_make_node_key": "how a model names its calls",
    "tf_keras.src.engine.functional:has_functional_like_constructor": "classes built from inputs and outputs",
    "tf_keras.src.engine.keras_tensor:KerasTensor": "copies of graphs of layers",
    "tf_keras.src.engine.node:Node": "copies of graphs of layers",
    "tf_keras.src.engine:base_layer_utils": "whether tf_keras is training now",
    "tf_keras.src.saving:saving_lib": "whole files of weights for HDF5, which jumps about in a `.keras` file",
    "tf_keras.src.mixed_precision.autocast_variable:AutoCastVariable": "a variable read in another type",
}

# Where a name of another package may be absent without a word, and why that changes no result. Everywhere
# else it is read without a default, or by `_base.private`.
MAY_BE_ABSENT = {
    (
        "_keras/rebuilding/optimizer.py",
        "_tracker",
    ): "only Keras 3's optimizers have one, which holds their list",
    ("_keras/backends/any_backend.py", "_torch_params"): "a module that is no layer, or not built, has none",
    ("_keras/copying/graph.py", "_keras_history"): "a symbolic tensor that no layer has made has none",
    ("_keras/copying/legacy.py", "_obj_reference_counts_dict"): "made when the first attribute is set",
    (
        "_keras/copying/legacy.py",
        "_self_unconditional_checkpoint_dependencies",
    ): "made when something is tracked",
    ("_keras/copying/walk.py", "_inbound_nodes"): "words of an error",
    ("_keras/legacy.py", "_build_from_signature"): "few classes have it; asked of an attention layer before",
    ("_keras/legacy.py", "_is_default"): "a `build` of a user's own has no mark; asked of Keras's own before",
    ("_keras/masks/averages.py", "_update_model_variables_moving_average"): "whose it is; asked for before",
    ("_keras/masks/masking.py", "_{kernel.name}"): "a property of a user's own hides what it likes",
    ("generation.py", "_build_cache"): "an error says so",
    ("trace/freezing.py", "_XlaMustCompile"): "few nodes have it",
    ("trace/freezing.py", "_class"): "few nodes have it",
    ("trace/freezing.py", "_gradient_op_type"): "few nodes have it",
    ("trace/freezing.py", "_noinline"): "few nodes have it",
    ("trace/layers/open_sizes.py", "_resize_images"): "of Keras 3 only, which cannot be traced without it",
    ("trace/scopes.py", "_tfg_inlined_"): "few nodes come of an inlined call",
    ("twins/attention.py", "_compute_attention"): "whether a user's class overrides it",
    ("twins/twins.py", "_is_default"): "a user's `get_config` has no mark; asked of Keras's own before",
}
