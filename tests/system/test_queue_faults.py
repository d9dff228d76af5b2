"""Every fault that a lab will meet with runs in a queue, and the tests that cause it.

What went wrong is said in one clear sentence. Nothing is lost, nothing sent twice, nothing called
failed or lost while it lives; and afterwards `--resume`, `runs retry` or `runs send` brings a grid
to its end, with one good end of each run. Tests in cluster/ need the real engines, see
`make test-cluster`; those in system/ have a stub of them, for what real ones will not do on demand.
Random kills, one after the other, are in cluster/test_chaos_engines.py.
"""

import pytest
from named_tests import missing, unlisted

SENDING = "system/test_queue_faults_sending.py"
TASKS = "system/test_queue_faults_tasks.py"
DAEMONS = "cluster/test_faults_daemons.py"
PLACES = "cluster/test_faults_places.py"
LIMITS = "cluster/test_faults_limits.py"

FAULTS = {
    "an engine that is down when runs are sent": [
        f"{SENDING}::test_an_engine_that_is_down_gets_nothing",
        f"{SENDING}::test_a_command_that_is_not_there_is_named",
        f"{DAEMONS}::test_a_master_that_is_killed_while_runs_run_wait_and_are_sent",
        "unit/utils/test_sending.py::test_an_engine_that_does_not_answer_gets_nothing",
    ],
    "an engine that goes down in the middle": [
        f"{SENDING}::test_an_engine_that_goes_down_in_between_keeps_what_it_has",
        f"{DAEMONS}::test_a_master_that_is_killed_while_runs_run_wait_and_are_sent",
    ],
    "an engine that is down when it is asked": [
        f"{SENDING}::test_a_question_without_an_answer_says_nothing_about_runs",
        f"{DAEMONS}::test_a_master_that_is_killed_while_runs_run_wait_and_are_sent",
        "unit/utils/test_retries.py::test_while_nothing_is_known_nothing_is_started_again",
    ],
    "a call that hangs": [
        f"{SENDING}::test_an_engine_that_is_down_gets_nothing",
        f"{SENDING}::test_an_engine_that_goes_down_in_between_keeps_what_it_has",
        f"{SENDING}::test_a_question_without_an_answer_says_nothing_about_runs",
        "unit/utils/test_engines.py::test_a_command_that_hangs_is_ended_with_all_that_it_started",
    ],
    "a call that answers garbage, half of an answer, or nothing": [
        f"{SENDING}::test_an_engine_that_is_down_gets_nothing",
        f"{SENDING}::test_an_engine_that_goes_down_in_between_keeps_what_it_has",
        f"{SENDING}::test_a_question_without_an_answer_says_nothing_about_runs",
        f"{SENDING}::test_a_silent_answer_within_the_grace_time_loses_nothing",
        f"{SENDING}::test_who_believed_a_silent_answer_does_no_harm",
        "unit/utils/test_grid_engine.py::test_an_answer_that_makes_no_sense_is_an_error",
        "unit/utils/test_slurm.py::test_an_answer_that_makes_no_sense_is_an_error",
    ],
    "a call that is accepted and times out": [
        f"{SENDING}::test_a_job_whose_answer_was_lost_is_not_sent_again",
        f"{SENDING}::test_a_job_is_found_when_its_engine_answers_again",
        "unit/utils/test_sending.py::"
        "test_a_call_that_was_accepted_without_an_answer_is_not_made_twice",
    ],
    "kill -9 of the master after it has accepted": [
        f"{SENDING}::test_a_master_that_forgot_an_accepted_job_loses_no_run",
        f"{SENDING}::test_cancelling_a_job_whose_number_is_anothers_leaves_that_alone",
        f"{DAEMONS}::test_a_master_that_is_killed_while_runs_run_wait_and_are_sent",
    ],
    "the same attempt started twice": [
        f"{TASKS}::test_an_attempt_that_is_started_twice_is_run_once",
        f"{SENDING}::test_who_believed_a_silent_answer_does_no_harm",
        "unit/utils/test_tasks.py::test_an_attempt_is_run_once",
        "unit/utils/test_job_node.py::test_of_racing_processes_one_gets_each_claim",
    ],
    "kill -9 of a program": [
        f"{TASKS}::test_a_process_that_is_killed_takes_one_run_along",
        f"{DAEMONS}::test_every_process_beside_a_run_is_killed",
    ],
    "kill -9 of a wrapper": [
        f"{TASKS}::test_a_process_that_is_killed_takes_one_run_along",
        f"{DAEMONS}::test_every_process_beside_a_run_is_killed",
    ],
    "kill -9 of an execution daemon, or of an engine's process beside a wrapper": [
        f"{TASKS}::test_an_engine_that_has_lost_sight_of_a_task_does_not_end_its_run",
        f"{DAEMONS}::test_every_process_beside_a_run_is_killed",
    ],
    "kill -9 of who sends": [
        f"{SENDING}::test_a_sender_that_is_killed_in_the_middle_sends_nothing_twice",
        "unit/utils/test_sending.py::test_a_signal_waits_for_the_number_of_a_job",
    ],
    "a time limit": [
        f"{LIMITS}::test_limits_of_time_and_memory",
        "unit/utils/test_task_ends.py::test_what_a_signal_means",
    ],
    "a memory limit": [
        f"{LIMITS}::test_limits_of_time_and_memory",
        "unit/utils/test_task_ends.py::test_a_program_that_the_kernel_has_killed",
    ],
    "a full disk": [
        f"{TASKS}::test_a_disk_that_is_full_on_the_node",
        f"{PLACES}::test_a_full_disk",
        "system/test_faults_disk.py::test_nothing_is_started_on_a_full_disk",
    ],
    "a folder of logs that is missing": [
        f"{TASKS}::test_logs_that_cannot_be_opened_are_said_in_the_engines_words",
        f"{PLACES}::test_folders_that_are_not_there_when_a_task_starts",
    ],
    "an error state (`Eqw`)": [
        f"{TASKS}::test_logs_that_cannot_be_opened_are_said_in_the_engines_words",
        f"{PLACES}::test_folders_that_are_not_there_when_a_task_starts",
        "unit/utils/test_queue_states.py::test_what_is_stuck_is_so_for_a_reason",
        "unit/utils/test_queue_cancel.py::test_what_cannot_be_freed_is_refused",
    ],
    "the longest array": [
        f"{SENDING}::test_an_engine_that_goes_down_in_between_keeps_what_it_has",
        "cluster/test_chunks.py::test_arrays_of_three_tasks_of_which_two_run_at_once",
        "unit/utils/test_sending.py::test_chunks",
    ],
    "as many jobs as there may be": [
        f"{SENDING}::test_a_full_queue_takes_the_rest_later",
        f"{SENDING}::test_a_full_slurm_that_lets_one_wait_is_not_asked_again",
        "unit/utils/test_sending.py::test_room_is_known_before_slurm_makes_one_wait",
    ],
    "a request that nothing can satisfy": [
        f"{SENDING}::test_an_impossible_request_is_said_in_the_engines_words",
        f"{LIMITS}::test_a_request_that_nothing_can_satisfy_waits_until_it_is_changed",
        f"{LIMITS}::test_a_node_that_is_drained_is_waited_for",
        "cluster/test_resources.py::test_what_can_never_be_is_said_before_anything_is_sent",
    ],
    "a run that needs one that fails": [
        f"{TASKS}::test_a_run_that_needs_one_that_failed_is_skipped",
        "cluster/test_stages_on_engines.py::test_stages_with_a_run_that_fails",
    ],
    "a checkout that was moved": [
        f"{TASKS}::test_a_node_on_which_the_submission_is_not_there_says_so",
        f"{PLACES}::test_folders_that_are_not_there_when_a_task_starts",
    ],
    "a clock of another host that is off by an hour": [
        f"{TASKS}::test_a_clock_that_is_off_by_an_hour_changes_no_state",
        "unit/utils/test_queue_states.py::test_clocks_of_hosts_do_not_matter",
    ],
    "arguments with blanks, quotes, `$`, `;`, backtick, newline, emoji": [
        "cluster/test_grids.py::test_a_grid_of_which_some_fail",
        "unit/utils/test_sending.py::test_no_text_of_a_user_is_in_a_command",
    ],
    "hostile names": [
        f"{TASKS}::test_names_that_could_be_read_as_something_else_are_refused",
        "cluster/test_grids.py::test_a_checkout_whose_folder_has_an_odd_name",
        "unit/utils/test_grid.py::test_names_that_are_no_folder_are_refused",
        "unit/utils/test_queues.py::test_no_resource_can_become_an_option",
        "unit/utils/test_queue_launches.py::test_what_an_engine_says_cannot_draw_on_the_terminal",
    ],
    "two people who send the same grid at once": [
        f"{SENDING}::test_two_people_who_send_the_same_grid_send_it_once",
        "unit/utils/test_plans.py::test_a_lock_is_held_by_one",
    ],
    "a folder of states that cannot be written": [
        f"{TASKS}::test_state_folders_that_cannot_be_written",
        f"{PLACES}::test_an_ordinary_user_who_may_not_write",
    ],
    "an ordinary user, and root": [
        f"{PLACES}::test_an_ordinary_user_who_may_not_write",
        "cluster/test_grids.py::test_a_grid_of_which_some_fail",
        "cluster/test_cancels.py::test_some_runs_of_an_array_are_cancelled",
        "cluster/test_stages_on_engines.py::test_stages_with_a_run_that_fails",
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_tests(fault):
    assert FAULTS[fault]
    assert missing(FAULTS[fault]) == []


def test_each_test_of_a_fault_is_listed():
    patterns = ("system/test_queue_faults_*.py", "cluster/test_faults_*.py")
    assert unlisted(FAULTS, *patterns) == []
