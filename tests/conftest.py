"""Fixtures that several files use, and a check of the names of all tests."""

import signal

import pytest

# Files whose tests compile kernels apart, start many processes or train for long. `.ci/run` runs
# them after the others.
SLOW = {
    "test_attributes", "test_averages", "test_bfloat16", "test_cache", "test_checks",
    "test_checkpoint_writers", "test_cli_train_large", "test_cluster_docs", "test_clusters",
    "test_compilation", "test_doors", "test_estimators_ranks", "test_estimators_sklearn",
    "test_examples", "test_handles", "test_interrupts", "test_large_arrays", "test_layout",
    "test_many_remote", "test_memory", "test_mpi", "test_notebooks", "test_numba_private",
    "test_parts", "test_phases", "test_precision", "test_prediction", "test_random_attributes",
    "test_random_use", "test_ranks_norm", "test_shared_folders", "test_site", "test_targets",
    "test_tiles", "test_torch_ranks", "test_two_hosts", "test_types", "test_units",
}  # fmt: skip
# Long tests of other files. A page of the documentation is a parameter of its test.
SLOW_TESTS = {
    "test_checkpoint": {"test_fifty_sudden_deaths"},
    "test_cli": {
        "test_bad_input_to_the_real_program", "test_ctrl_c", "test_digits_on_a_terminal",
        "test_numpy_in_place_of_compiled_kernels", "test_same_numbers_in_another_process",
        "test_training_that_diverges",
    },
    "test_cli_tables": {
        "test_bench_measures_what_is_installed", "test_bench_runs_no_module_of_the_current_folder",
        "test_info_knows_the_cache", "test_precision_of_the_commands",
        "test_predictions_of_the_real_program_in_a_pipe", "test_streams_that_the_shell_has_closed",
        "test_table_on_a_terminal", "test_table_on_standard_input_of_the_real_program",
        "test_the_command_line_does_not_warn_of_its_own_models",
    },
    "test_docs": {
        "cookbook.md", "jitted.md", "larger-than-memory.md", "precision.md", "several-hosts.md",
    },
    "test_embedding": {
        "test_a_handle_predicts_the_same",
        "test_a_lower_precision_rounds_the_operands_of_products_alone",
        "test_bits_of_shards_are_the_same_on_any_number_of_ranks",
        "test_shards_of_a_network_with_batch_norm",
    },
    "test_estimators": {"test_every_check_of_an_estimator"},
    "test_estimators_beyond": {"test_a_grid_search_finds_the_same_everywhere"},
    "test_kernels": {"test_nothing_behind_an_array_is_touched"},
    "test_residual": {
        "test_a_handle_predicts_the_same",
        "test_a_lower_precision_rounds_the_operands_of_products_alone",
        "test_bits_of_shards_are_the_same_on_any_number_of_ranks",
    },
    "test_sparse": {
        "test_60000_features_take_less_than_1_gb", "test_a_rank_makes_no_other_rows_dense",
        "test_ranks_make_the_rows_of_their_shards_dense",
    },
    "test_training": {"test_reference_kernels_give_the_same_training"},
}  # fmt: skip


def is_slow(item):
    """Whether a test belongs to the long ones; so do all that run a benchmark."""
    names = SLOW_TESTS.get(item.path.stem, ())
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return (
        item.path.parent.name == "benchmarks"
        or item.path.stem in SLOW
        or getattr(item, "originalname", None) in names
        or any(isinstance(each, str) and each in names for each in parameters)
    )


def pytest_collection_modifyitems(items):
    """Mark slow tests, and refuse names with an address, which differs between workers."""
    for item in items:
        if is_slow(item):
            item.add_marker(pytest.mark.slow)
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"the name of a test has an address: {item.nodeid}")


@pytest.fixture
def interrupts():
    """Let SIGINT interrupt: a shell has it ignored in what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
