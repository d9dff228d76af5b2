"""Every fault that a lab will meet, and the tests that cause it.

Each must be answered by one clear sentence and an exit status that is not 0, and nothing that was
finished may be lost. Those that need minutes are in `bench/chaos.py`: ten random kills in a row.
"""

import pytest
from named_tests import missing, unlisted

FAULTS = {
    "an unknown environment, with a suggestion": [
        "unit/utils/test_runners.py::test_what_is_wrong_is_answered_with_what_is_allowed",
        "system/test_faults_input.py::test_a_command_that_is_wrong_starts_nothing",
    ],
    "an unknown flag, with a suggestion": [
        "unit/utils/test_runners.py::test_what_is_wrong_is_answered_with_what_is_allowed",
        "unit/utils/test_experiment.py::test_a_wrong_flag_is_one_sentence",
        "system/test_faults_input.py::test_a_command_that_is_wrong_starts_nothing",
    ],
    "a wrong type or value": [
        "unit/utils/test_signatures.py::test_a_text_that_is_no_value_is_refused",
        "unit/utils/test_signatures.py::test_wrong_arguments_of_a_grid_are_refused",
        "unit/utils/test_runners.py::test_a_grid_is_checked_before_anything_starts",
        "unit/utils/test_by_hand.py::test_a_wrong_grid_is_one_sentence",
        "unit/NDN3/test_fitting.py::test_numbers_without_sense_are_refused",
        "system/test_faults_input.py::test_a_command_that_is_wrong_starts_nothing",
    ],
    "no Data/": [
        "unit/utils/test_data.py::test_missing_file_is_named_with_its_source_and_remedy",
        "unit/utils/test_experiment.py::test_missing_data_are_one_sentence",
        "system/test_faults_input.py::test_without_any_data_the_way_to_get_some_is_named",
        "system/test_faults_input.py::test_recordings_that_cannot_be_used_are_named",
    ],
    "a file of the wrong shape or with NaN": [
        "unit/utils/test_data.py::test_files_that_do_not_fit_are_named",
        "unit/utils/test_make_data.py::test_real_data_that_do_not_fit_are_named",
        "system/test_faults_input.py::test_recordings_that_cannot_be_used_are_named",
    ],
    "a layer list of the wrong length": [
        "unit/NDN3/test_ndnutils.py::test_what_does_not_fit_is_refused",
        "system/test_faults_input.py::test_a_layer_list_of_the_wrong_length_is_one_sentence",
    ],
    "a run number that was taken with other arguments": [
        "unit/utils/test_runners.py::test_a_number_is_a_promise",
        "unit/utils/test_runners.py::test_a_changed_default_breaks_the_promise",
        "unit/utils/test_experiment.py::test_a_number_keeps_its_arguments",
        "system/test_launcher.py::"
        "test_a_number_that_means_something_else_is_refused_until_it_is_removed",
    ],
    "results from other data": [
        "unit/utils/test_runners.py::test_other_data_break_the_promise",
        "unit/utils/test_experiment.py::test_changed_data_are_another_run",
        "system/test_faults_input.py::test_results_from_other_data_stay_what_they_are",
    ],
    "a damaged .ndnmod": [
        "unit/NDN3/test_storage.py::test_a_foreign_zip_and_a_torn_file_are_refused",
        "unit/NDN3/test_storage.py::test_changed_bytes_are_damage",
        "system/test_faults_files.py::test_a_damaged_model_is_named_and_the_others_load",
    ],
    "a hostile .ndnmod": [
        "unit/NDN3/test_storage.py::test_pickles_are_refused_and_not_run",
        "unit/NDN3/test_storage.py::test_a_small_file_cannot_ask_for_much_memory",
        "system/test_faults_files.py::test_a_hostile_model_runs_nothing",
    ],
    "a damaged run.json": [
        "unit/utils/test_registry.py::test_a_file_that_cannot_be_read_does_not_hide_the_others",
        "unit/utils/test_run.py::test_a_file_that_cannot_be_read_counts_as_unfinished",
        "system/test_faults_files.py::test_a_damaged_run_json_hides_nothing_and_can_be_resumed",
    ],
    "a damaged event file": [
        "unit/NDN3/test_events.py::test_a_damaged_file_is_named_and_its_beginning_is_read",
        "unit/utils/test_summaries.py::test_files_that_are_damaged_or_cannot_be_read_are_named",
        "system/test_faults_files.py::test_a_damaged_event_file_is_named_and_the_others_are_drawn",
    ],
    "a damaged checkpoint": [
        "unit/NDN3/test_training_company.py::test_checkpoint_of_another_training_is_refused",
        "system/test_faults_files.py::test_a_damaged_checkpoint_is_named_and_the_others_go_on",
    ],
    "damaged plans, tasks, claims, records and list of finished runs": [
        "unit/utils/test_plans.py::test_a_damaged_file_is_named_with_the_remedy",
        "unit/utils/test_states.py::test_a_damaged_list_of_tasks_is_left_out_and_said_once",
        "system/test_faults_files.py::test_what_is_torn_among_the_launchers_files_hides_no_run",
        "system/test_faults_files.py::test_a_ledger_that_was_damaged_is_written_anew",
    ],
    "a full disk": [
        "unit/utils/test_by_hand.py::test_a_full_disk_is_one_sentence_that_is_not_a_fault",
        "unit/utils/test_run.py::test_the_checkpoint_outlives_a_disk_that_is_full",
        "system/test_faults_disk.py::test_nothing_is_started_on_a_full_disk",
        "system/test_faults_disk.py::test_a_disk_that_fills_up_takes_only_what_was_not_yet_written",
        "system/test_faults_disk.py::test_checkpoints_summaries_and_models_are_whole_or_not_there",
        "system/test_faults_disk.py::test_a_figure_that_does_not_fit_leaves_the_old_one",
        "system/test_faults_disk.py::test_data_that_do_not_fit_are_made_later",
    ],
    "a results folder that cannot be written": [
        "unit/utils/test_by_hand.py::test_results_that_cannot_be_written_are_one_sentence",
        "system/test_pool.py::"
        "test_results_that_cannot_be_written_are_refused_before_anything_starts",
        "system/test_faults_disk.py::test_results_of_others_can_be_read_and_not_changed",
        "system/test_faults_disk.py::test_data_of_others_can_be_checked_and_not_completed",
    ],
    "Ctrl-C at any moment": [
        "unit/utils/test_runners.py::test_ctrl_c_while_a_runner_is_loaded_needs_no_traceback",
        "unit/utils/test_make_data.py::test_interrupted_at_any_file",
        "unit/utils/test_experiment.py::test_a_signal_ends_it_and_resume_continues",
        "system/test_launcher.py::test_ctrl_c_and_resume",
        "system/test_launcher.py::test_a_second_ctrl_c_kills",
        "system/test_runs_together.py::test_ctrl_c_and_resume",
        "system/test_faults_interrupts.py::test_a_launcher_at_any_moment",
        "system/test_faults_interrupts.py::test_an_experiment_started_by_hand_at_any_moment",
        "system/test_faults_interrupts.py::test_a_question_at_any_moment",
        "system/test_faults_interrupts.py::test_make_data_at_any_moment",
        "system/test_faults_interrupts.py::test_a_training_at_any_moment",
    ],
    "kill -9 of a program": [
        "unit/utils/test_tasks.py::test_what_becomes_of_a_program",
        "system/test_pool.py::test_a_killed_program_is_tried_again_on_demand",
        "system/test_runs_together.py::test_a_killed_program_or_wrapper_takes_one_run_along",
    ],
    "kill -9 of a wrapper": [
        "unit/utils/test_tasks.py::test_a_killed_wrapper_takes_its_program_along",
        "system/test_pool.py::test_a_killed_wrapper_is_followed_when_its_program_has_ended",
        "system/test_runs_together.py::test_a_killed_program_or_wrapper_takes_one_run_along",
    ],
    "kill -9 of a pool, and of everything": [
        "unit/utils/test_tasks.py::test_a_wrapper_ends_with_its_parent",
        "system/test_launcher.py::test_a_killed_launcher_loses_nothing",
        "system/test_launcher.py::test_when_everything_is_killed_runs_are_lost_and_resumed",
        "system/test_pool.py::test_a_killed_detached_pool_leaves_nothing_running",
        "system/test_v1.py::test_killed_grid_resumes_with_the_same_bits",
    ],
    "two pools on the same runs": [
        "unit/utils/test_job_node.py::test_of_racing_processes_one_gets_each_claim",
        "unit/utils/test_plans.py::test_a_lock_is_held_by_one",
        "system/test_launcher.py::test_the_same_command_twice_starts_nothing_twice",
    ],
    "two scripts started by hand on the same run": [
        "unit/utils/test_experiment.py::test_a_run_at_work_is_not_started_twice",
        "system/test_faults_input.py::test_of_scripts_started_at_once_one_trains",
    ],
    "a script that raises": [
        "unit/utils/test_experiment.py::test_an_error_of_the_experiment_is_shown_and_noted",
        "unit/utils/test_by_hand.py::test_a_fault_keeps_its_traceback",
        "system/test_launcher.py::test_twelve_runs_of_which_three_fail",
        "system/test_launcher.py::test_a_hopeless_grid_is_given_up",
        "system/test_faults_input.py::test_a_script_that_raises_says_where",
    ],
    "names with spaces, quotes and letters that are not ASCII": [
        "unit/utils/test_tasks.py::test_arguments_and_environment_arrive_unchanged",
        "system/test_launcher.py::test_twelve_runs_of_which_three_fail",
        "system/test_pool.py::test_names_may_hold_anything",
    ],
    "a GPU asked for on a machine that has none": [
        "unit/utils/test_gpus.py::test_what_is_no_gpu_of_this_machine_is_refused",
        "system/test_pool.py::test_a_grid_that_needs_gpus_gets_them_or_a_sentence",
    ],
    "no network at set-up": [
        "system/test_faults_setup.py::test_without_a_network_one_sentence_says_what_to_do",
        "system/test_faults_setup.py::test_with_a_network_again_it_goes_on",
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_tests(fault):
    assert FAULTS[fault]
    assert missing(FAULTS[fault]) == []


def test_each_test_of_a_fault_is_listed():
    assert unlisted(FAULTS, "system/test_faults_*.py") == []
