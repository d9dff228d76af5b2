"""Writing the curves of twenty members, four scalars each, flushed: ours and TensorFlow's."""

import itertools

MEMBERS = 20
TAGS = ("loss/cost", "loss/reg_pen", "loss/cost_penalized", "loss/correlation")


def own(turns):
    """NDN3's event files."""
    from NDN3.events import EventWriter

    writers = [EventWriter(turns.folder / f"member{index}") for index in range(MEMBERS)]
    for epoch in itertools.count():
        for writer in writers:
            writer.scalars(epoch, dict.fromkeys(TAGS, 1.0))
            writer.flush()
        turns.after(1)


def tensorflow_summaries(turns):
    """``tf.summary``, the same numbers."""
    from trainer_turns import tensorflow

    tf = tensorflow()
    writers = [
        tf.summary.create_file_writer(str(turns.folder / f"member{index}"))
        for index in range(MEMBERS)
    ]
    for epoch in itertools.count():
        for writer in writers:
            with writer.as_default(epoch):
                for tag in TAGS:
                    tf.summary.scalar(tag, 1.0)
            writer.flush()
        turns.after(1)
