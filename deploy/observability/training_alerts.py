"""Alerts on training and the promotion of models."""

from observability.alert import Alert

__all__ = ["TRAINING_ALERTS"]

_SAME = "on (job, instance)"

TRAINING_ALERTS = (
    Alert(
        name="LivepickNoModel",
        severity="warning",
        expr=f"""
            livepick_model_info{{kind!="trained"}} == 1
            and {_SAME} (livepick_training_running == 0)
            and {_SAME} (
                livepick_ledger_micrographs{{state="picked"}}
                >= {_SAME} livepick_bootstrap_micrographs
            )
            unless {_SAME} (
                livepick_training_ended_timestamp_seconds{{result=~"promoted|kept_aside"}} > 0
            )
            """,
        in_use=True,
        lasting="30m",
        dashboard="training",
        summary="{{ $labels.instance }} has had enough micrographs for half an hour, but has no"
        " trained model. The page says what training waits for, or why it failed.",
        runbook="Training waits until enough micrographs are suitable, and for"
        " `bootstrap.minimum_picks`. If most are masked or have very few picks, see"
        " LivepickNothingFound. If the run failed, see LivepickTrainingFailed. Once a model has"
        " been trained, this alert does not fire, even if the promotion gate kept the model aside"
        " (LivepickModelKeptAside) or somebody returned to the first picker.",
    ),
    Alert(
        name="LivepickModelDamaged",
        severity="warning",
        expr="livepick_model_usable == 0",
        in_use=True,
        lasting="1m",
        dashboard="training",
        summary="The current model of {{ $labels.instance }} is damaged or does not run: an earlier"
        " one or the blob picker picks. Run livepick status: it names the file.",
        runbook="`livepick status CONFIG` and the log name the file and the fault. Picks that"
        " exist stay as they are. Restore `STATE/models/NNNN` from a copy, and the model is used"
        " again within seconds; or take another one: `livepick models list CONFIG`, then `livepick"
        " models promote CONFIG N`; or train a new one: `livepick retrain CONFIG`. If it is the"
        " general model (`bootstrap.picks: general`), install livepick again and restart the"
        " service.",
    ),
    Alert(
        name="LivepickTrainingFailed",
        severity="warning",
        expr=f"""
            livepick_training_ended_timestamp_seconds{{result="failed"}}
            > {_SAME} max by (job, instance) (
                livepick_training_ended_timestamp_seconds{{result!="failed"}}
            )
            unless {_SAME} livepick_training_running == 1
            """,
        in_use=True,
        lasting="1m",
        dashboard="training",
        summary="Training failed on {{ $labels.instance }}; picking continues with the current"
        " model. See the trainer's log in STATE/runs; fix the cause, then run livepick retrain.",
        runbook="The page shows the reason, and `STATE/runs/NNNN/trainer.log` has the details."
        " Out of memory: lower `training.minibatch_size`, or stop other programs on the GPU."
        " A GPU is requested but missing: change `training.device`. Training is not repeated by"
        " itself: run `livepick retrain CONFIG`.",
    ),
    Alert(
        name="LivepickModelKeptAside",
        severity="info",
        expr=f"""
            livepick_training_ended_timestamp_seconds{{result="kept_aside"}}
            > {_SAME} max by (job, instance) (
                livepick_training_ended_timestamp_seconds{{result=~"promoted|superseded"}}
                or livepick_model_promoted_timestamp_seconds
            )
            """,
        in_use=True,
        lasting="1m",
        dashboard="training",
        summary="A new model of {{ $labels.instance }} was not better than the one in use, which"
        " stays. livepick models show compares them; livepick models promote overrides this.",
        runbook="The gate's figures are on the Training dashboard, and the page explains them."
        " Nothing needs to be done. `livepick models promote CONFIG N` promotes the new model"
        " anyway, and ends this alert, as does the next model that is promoted.",
    ),
)
