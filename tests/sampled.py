"""Families of cases that say much the same: the default suite runs one of so many of each, and `make test-slow` the others.

The cases of a family are counted in the order in which they are written.  Not here are the negative controls, what
is shipped (each config, scenario and litmus test is run because it is there), and what is fast.
"""

from collections import Counter

import pytest

ONE_OF = {
    "commands/test_arguments.py::test_a_path_that_the_system_refuses_is_a_mistake_and_refused_before_anything_is_done": 3,
    "commands/test_explore_output.py::test_no_text_of_a_micro_op_is_cut": 2,
    "docs/test_samples.py::test_a_block_is_run_and_prints_what_is_shown": 2,
    "engines/test_dpamt.py::test_a_design_breaks_what_its_row_says_and_nothing_else": 5,
    "engines/test_dpamt.py::test_splits_run_in_virtual_time_with_every_design_that_counts": 3,
    "engines/test_dpamt.py::test_the_c_litmus_tests_say_the_same": 3,
    "engines/test_explore.py::test_a_known_defect_is_in_the_releases_that_its_file_says_and_in_no_other": 3,
    "engines/test_explore.py::test_releases_whose_programs_and_starts_are_equal_come_to_the_same": 2,
    "engines/test_explore.py::test_the_reduction_changes_no_verdict": 7,
    "engines/test_explore.py::test_the_rip_of_an_entry_that_nobody_can_tell_changes_nothing": 3,
    "engines/test_explore_contention.py::test_so_it_is_for_calls_of_migration_services_and_devices": 2,
    "engines/test_explore_contention.py::test_what_the_search_finds_busy_is_what_the_matrix_says": 2,
    "engines/test_explore_releases.py::test_every_outcome_of_the_newest_is_one_of_the_release_before_the_new_order": 3,
    "engines/test_explore_releases.py::test_only_a_remove_beside_an_aug_can_halt_the_module": 2,
    "engines/test_explore_releases.py::test_where_entries_are_written_twice_a_lock_bit_can_be_lost_and_the_module_halts": 2,
    "engines/test_explore_symmetry.py::test_a_pair_of_the_same_call_says_the_same_in_one_order_and_in_both": 3,
    "engines/test_explore_symmetry.py::test_a_shipped_scenario_says_the_same_in_one_order_and_in_all": 7,
    "engines/test_explore_symmetry.py::test_a_world_says_the_same_in_one_order_and_in_all": 5,
    "engines/test_explore_threads.py::test_two_threads_find_what_one_finds_of_actors_that_are_alike": 3,
    "engines/test_processes.py::test_every_pattern_runs": 2,
    "engines/test_processes.py::test_every_policy_runs_and_breaks_only_what_it_is_known_to_break": 3,
    "engines/test_simulate.py::test_nobody_ever_waits_for_what_has_already_happened": 4,
    "engines/test_simulate.py::test_tds_that_share_nothing_do_what_each_would_do_alone": 3,
    "engines/test_small.py::test_what_comes_with_costs_that_vary_is_what_the_search_has": 3,
    "experiment/test_choices.py::test_at_boot_pieces_of_memory_go_round_the_vcpus_that_accept_and_nobody_takes_a_piece_of_another": 5,
    "experiment/test_config.py::test_every_response_that_is_allowed_at_a_site_can_be_assembled_there": 3,
    "experiment/test_config.py::test_every_value_of_a_switch_can_be_assembled_and_stands_in_the_result": 3,
    "experiment/test_litmus.py::test_an_argument_of_the_list_says_where_it_comes_from": 4,
    "experiment/test_litmus.py::test_nothing_but_its_own_c_writes_to_a_local": 4,
    "experiment/test_scenario_placement.py::test_demote_meets_add_and_remove_of_another_td_where_its_pair_lies_beside_that_ones_pages": 3,
    "faults/test_faults.py::test_a_fault_at_a_random_instant_is_well_met": 3,
    "kernels/test_arithmetic.py::test_every_operator_gives_what_c_says": 3,
    "kernels/test_blame.py::test_the_limit_of_each_row_that_holds_a_lock_is_that_of_its_own_call": 9,
    "kernels/test_locks.py::test_operations_agree_with_the_vectors": 3,
    "kernels/test_locks.py::test_operations_follow_their_rule_on_arbitrary_words": 5,
    "kernels/test_locks.py::test_sixteen_bit_operations_follow_their_rule_on_every_word": 3,
    "kernels/test_ops.py::test_a_line_with_a_false_entry_is_found_out": 4,
    "kernels/test_ops.py::test_the_op_in_python_comes_to_what_the_compiled_one_does": 4,
    "kernels/test_ops.py::test_what_the_table_says_of_an_op_is_true": 5,
    "kernels/test_ops.py::test_what_the_table_says_of_an_op_of_the_driver_is_true": 3,
    "kernels/test_short_compiler.py::test_a_variable_may_be_set_in_several_places": 3,
    "kernels/test_wheel.py::test_nodes_come_out_in_the_order_of_time_and_then_of_asking": 4,
    "memory/test_placement.py::test_large_pages_on_placed_memory_keep_every_invariant": 3,
    "protocol/test_allowed.py::test_a_call_is_allowed_in_the_op_states_of_the_modules_table": 4,
    "protocol/test_allowed.py::test_a_call_that_asks_for_tracking_leaves_the_epoch_as_it_is": 4,
    "protocol/test_allowed.py::test_an_sept_page_is_removed_only_if_all_its_entries_are_free": 5,
    "protocol/test_allowed.py::test_before_the_td_runs_nothing_has_to_be_blocked_or_tracked": 4,
    "protocol/test_allowed.py::test_tracking_is_asked_for_while_the_td_may_run": 4,
    "protocol/test_c_constructs.py::test_each_construct_and_function_does_what_it_does_in_c": 4,
    "protocol/test_contention.py::test_calls_that_are_kept_apart_exclude_each_other_on_a_lock_that_they_take_before_and_drop_behind": 4,
    "protocol/test_contention.py::test_pairs_are_ordered_unique_and_contend": 4,
    "protocol/test_contention.py::test_tables_fit_100_columns_and_name_the_release": 4,
    "protocol/test_counted_answers.py::test_what_is_busy_in_a_program_is_a_lost_lock_and_nothing_else_is": 3,
    "protocol/test_entries.py::test_an_entry_that_a_call_has_locked_is_locked_for_all_until_it_is_given_back": 3,
    "protocol/test_entries.py::test_an_entry_that_is_copied_keeps_each_bit_of_its_address": 5,
    "protocol/test_faults.py::test_without_entropy_the_module_is_not_initialized_and_may_be_later": 3,
    "protocol/test_fields.py::test_a_call_reads_no_register_that_it_was_not_given": 7,
    "protocol/test_fields.py::test_a_new_entry_is_written_over_what_the_call_has_read_from_1_5_28_on": 4,
    "protocol/test_fields.py::test_each_word_is_as_wide_as_it_is_and_all_of_it_is_compared": 7,
    "protocol/test_flows.py::test_an_ended_run_leaves_everything_quiet": 3,
    "protocol/test_guest_policies.py::test_2_mib_are_tried_where_they_begin_and_the_guest_steps_down": 3,
    "protocol/test_guest_policies.py::test_a_guest_does_at_4_kib_what_its_row_says": 3,
    "protocol/test_guest_policies.py::test_linux_tries_1_gib_where_a_whole_one_begins_is_refused_and_steps_down_to_2_mib_and_4_kib": 3,
    "protocol/test_host_priority.py::test_a_demoted_page_hands_a_losers_priority_to_all_its_512_parts": 4,
    "protocol/test_host_priority.py::test_a_hosts_priority_is_kept_or_lost_as_the_release_writes": 3,
    "protocol/test_host_priority.py::test_a_promoted_page_and_the_priority_of_its_first_part_up_to_1_5_16": 3,
    "protocol/test_host_priority.py::test_a_promoted_page_keeps_its_own_priority_from_1_5_20": 4,
    "protocol/test_host_priority.py::test_a_relocated_page_keeps_its_state_and_a_losers_priority_in_every_state": 4,
    "protocol/test_host_priority.py::test_priority_that_a_host_asks_for_or_clears_is_counted_once": 4,
    "protocol/test_interleavings_of_later_releases.py::test_n16_a_word_that_has_changed_besides_priority_is_overwritten_or_halts_the_module": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n18_promote_meets_a_part_that_a_guest_holds": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n1_before_that_it_sees_the_request_behind_its_own_take_and_gives_back": 4,
    "protocol/test_interleavings_of_later_releases.py::test_n24_a_service_td_that_meets_a_hosts_request_on_op_state_exits_and_a_plain_busy_it_is_told": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n26_a_processor_in_a_guest_is_inside_until_its_td_exit": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n28_an_access_later_it_is_busy_on_the_page_and_an_access_earlier_on_the_entry": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n28_before_the_entry_is_written_remove_stops_at_it": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n28_whoever_takes_an_entry_that_aug_has_let_go_of_finds_its_page_nobodys_and_halts": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n2_before_that_a_refused_guest_holds_the_entry_for_a_moment_in_which_the_host_loses": 4,
    "protocol/test_interleavings_of_later_releases.py::test_n3_an_entry_that_is_held_and_asked_for_refuses_a_guest_in_one_way_or_the_other": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n4_a_page_added_behind_accepts_walk_is_accepted_if_the_entry_itself_is_asked": 5,
    "protocol/test_interleavings_of_later_releases.py::test_n9_demote_copies_a_losers_priority_into_all_parts": 5,
    "protocol/test_migration.py::test_an_import_without_a_pair_stops_and_two_of_them_end_the_session": 3,
    "protocol/test_migration.py::test_each_state_has_one_outcome_in_a_list": 4,
    "protocol/test_migration.py::test_n10_a_reader_of_the_tree_takes_back_what_a_block_has_asked_for": 5,
    "protocol/test_migration.py::test_n19_a_look_at_an_entry_ends_a_migration_in_the_in_order_phase": 5,
    "protocol/test_orders.py::test_a_call_alone_does_what_its_line_says_in_that_order": 5,
    "protocol/test_packages.py::test_a_td_may_have_more_tdcx_pages_than_it_needs": 4,
    "protocol/test_programs.py::test_every_row_of_a_program_can_be_reached": 3,
    "protocol/test_releases.py::test_a_large_accept_stops_for_an_interrupt_after_each_chunk_and_goes_on_where_it_was": 5,
    "protocol/test_releases.py::test_long_calls_give_way_to_an_interrupt_and_some_to_a_host_that_wants_the_tree": 5,
    "protocol/test_releases.py::test_promote_and_demote_turn_512_entries_and_pamt_entries_around": 5,
    "protocol/test_releases.py::test_s27_a_listed_pending_page_refuses_entry_for_ever_up_to_1_5_16": 5,
    "protocol/test_seamcalls.py::test_a_busy_lock_is_reported_with_its_operand_and_nothing_is_left_held": 5,
    "protocol/test_seamcalls.py::test_each_state_has_one_outcome_in_each_call_level_and_release": 3,
    "protocol/test_seamcalls.py::test_every_call_succeeds_where_it_should_and_holds_nothing_after": 5,
    "protocol/test_services.py::test_a_page_of_a_device_is_mapped_accepted_blocked_and_unmapped": 3,
    "protocol/test_services.py::test_n24_host_priority_on_the_targets_op_state_ends_a_service_tds_call_as_a_td_exit": 5,
    "protocol/test_services.py::test_n6_a_guests_reader_that_has_looked_overtakes_a_host": 3,
    "protocol/test_services.py::test_s8_a_reader_that_takes_back_what_an_exclusive_holder_has_wiped_out_halts_the_module": 4,
    "protocol/test_ways_out.py::test_a_call_goes_by_the_entry_that_it_has_locked": 7,
    "protocol/test_ways_out.py::test_a_call_on_a_page_of_a_large_one_ends_at_that_ones_entry": 7,
    "protocol/test_ways_out.py::test_a_call_takes_a_lock_over_a_hosts_priority_and_clears_it": 7,
    "protocol/test_ways_out.py::test_a_call_that_cannot_have_a_lock_gives_back_what_it_has": 7,
    "protocol/test_ways_out.py::test_a_call_that_finds_something_wrong_says_so_and_gives_back_what_it_has": 7,
    "results/test_document.py::test_the_result_of_every_shipped_config_is_read_as_it_is_written_and_has_every_number": 3,
    "results/test_document.py::test_what_was_simulated_adds_up": 3,
    "results/test_store.py::test_a_damaged_result_is_refused_by_every_command_with_file_and_key": 3,
    "results/test_store.py::test_whatever_one_value_is_the_result_is_refused_with_its_key_or_can_be_read": 5,
}


def share(nodeid: str) -> int:
    """The default suite runs one of so many cases of a test."""
    return ONE_OF.get(nodeid.partition("[")[0].removeprefix("tests/"), 1)


def mark(items: list) -> None:
    """Marks as slow what the default suite leaves out of the collected tests."""
    met = Counter()
    for item in items:
        family = item.nodeid.partition("[")[0]
        if met[family] % share(family):
            item.add_marker(pytest.mark.slow)
        met[family] += 1
