"""All alerts of livepick; those that call somebody come first.

Each alert evaluates a window, never a single micrograph. `livepick_session_active` keeps them
silent when no session is collecting. An alert is critical if no micrographs or picks appear until
somebody acts, like a red problem on livepick's page. After a warning livepick continues, but
somebody should check. The limits are those of the page.
"""

from livepick.config.alert_thresholds import (
    BAD_FRACTION,
    BAD_SINGLE,
    DOUBTFUL_FRACTION,
    DOUBTFUL_SINGLE,
    EMPTY_IN_ROW,
    FAILED_FRACTION,
    FAILED_SINGLE,
    LAG_SECONDS,
    LATEST,
    QUIET_GAPS,
    QUIET_SECONDS,
)
from livepick.host.disks import LOW_FRACTION, TIGHT_GIB
from observability.alert import Alert

__all__ = ["ALERTS"]

_SAME = "on (job, instance)"

_QUIET = f"seconds({QUIET_SECONDS:.0f}s)"
_LAG = f"seconds({LAG_SECONDS:.0f}s)"

_FAILED = 'sum without (state) (livepick_latest_micrographs{state="failed"})'
_BAD = 'sum without (verdict) (livepick_latest_quality_verdicts{verdict="bad"})'
_NOT_GOOD = 'sum without (verdict) (livepick_latest_quality_verdicts{verdict=~"bad|doubtful"})'
_JUDGED = "sum without (verdict) (livepick_latest_quality_verdicts)"

_CALLS = "sum without (outcome) (increase(livepick_on_picked_calls_total[15m]))"
_FAILED_CALLS = _CALLS.replace("[", '{outcome!="success"}[')

_TOLD_ONCE = "and on (job, instance, path_role) livepick_disk_shared == 0"
"""Condition that reports a disk once; otherwise a disk with three roles would be reported three
times."""

_COLLECTING = (
    Alert(
        name="LivepickDown",
        severity="critical",
        expr='up{job="livepick"} == 0',
        lasting="2m",
        dashboard="session",
        summary="livepick on {{ $labels.instance }} does not answer: nothing is picked."
        " On its machine: systemctl status livepick, and start it.",
        runbook="The service is down, or Prometheus cannot reach it. `systemctl status livepick`"
        " and `journalctl -u livepick` say why. Status 78: the config is wrong, edit it. Status 75:"
        " another service has the state folder. Active all the same: compare `web.listen` with the"
        " scrape. Nothing is lost; it goes on where it was.",
    ),
    Alert(
        name="LivepickUnhealthy",
        severity="critical",
        expr="livepick_healthy == 0",
        lasting="1m",
        dashboard="pipeline",
        summary="A part of livepick on {{ $labels.instance }} hangs. systemd restarts it within"
        " two minutes; if not: systemctl restart livepick.",
        runbook="`/healthz` names the part. Usually a file system hangs: try `ls` on the watched"
        " folder and on the output folder. The watchdog of systemd restarts the service; without"
        " systemd restart it.",
    ),
    Alert(
        name="LivepickAcquisitionStalled",
        severity="critical",
        expr=f"""
            livepick_session_active == 1
            and time() - livepick_last_micrograph_seen_timestamp_seconds
                > clamp_min({QUIET_GAPS} * livepick_micrograph_gap_seconds, {_QUIET})
            """,
        lasting="1m",
        dashboard="session",
        summary="No micrograph has landed on {{ $labels.instance }} for long. Look at the"
        " microscope, then at motion correction and the transfer.",
        runbook="15 minutes, or ten times the usual gap if that is longer, without a micrograph in"
        " a session that was collecting. Has the acquisition stopped (end of the queue, lost"
        " vacuum, refill)? Does motion correction run? Is the transfer alive, and its disk not"
        " full? Are files `skipped` in `livepick_micrographs_total`, then compare their names with"
        " `watch.include`. A session that is really over falls silent after six hours; silence it"
        " by hand before. What was in the folders when livepick started is no such session.",
    ),
    Alert(
        name="LivepickWatchRootGone",
        severity="critical",
        expr="livepick_watch_root_available == 0",
        lasting="2m",
        dashboard="pipeline",
        summary="Watched folder {{ $labels.root }} of {{ $labels.instance }} is not there. Mount"
        " it again; livepick goes on by itself.",
        runbook="The folder is named on livepick's page (the label counts from 0, in the order of"
        " `watch.directories`). Is the share mounted, and may the user `livepick` read it? Nothing"
        " is forgotten: what is there when it comes back is listed again.",
    ),
    Alert(
        name="LivepickScanOverdue",
        severity="critical",
        expr=f"""
            time() - livepick_last_scan_timestamp_seconds
                > 3 * livepick_rescan_interval_seconds + seconds(2m)
            and livepick_last_scan_timestamp_seconds > 0
            unless {_SAME} livepick_watch_root_available == 0
            """,
        lasting="1m",
        dashboard="pipeline",
        summary="The watched folders of {{ $labels.instance }} have not been listed for too long:"
        " new micrographs may be missed. Try ls on them; the file system may hang.",
        runbook="The listing hangs or takes longer than three intervals. Look at the scan duration"
        " on the Pipeline dashboard, and at the file server. Many old files in the watched tree"
        " slow it down: watch the session's folder only.",
    ),
)

_PICKING = (
    Alert(
        name="LivepickPickingStopped",
        severity="critical",
        expr=f"""
            time() - livepick_oldest_pending_timestamp_seconds > {_LAG}
            and livepick_oldest_pending_timestamp_seconds > 0
            and time() - livepick_last_micrograph_picked_timestamp_seconds > {_LAG}
            """,
        lasting="2m",
        dashboard="pipeline",
        summary="Micrographs wait on {{ $labels.instance }}, and none has been picked for more than"
        " ten minutes. See what its workers do (top, nvidia-smi), and restart livepick.",
        runbook="Another alert may say why: a folder that is not there, or takes no writes. Do the"
        " workers compute (`top`)? Do they wait for the file server (state D), or for a card that"
        " hangs (`nvidia-smi`, `dmesg`)? `systemctl restart livepick` starts them anew, and"
        " nothing is lost.",
    ),
    Alert(
        name="LivepickFallingBehind",
        severity="warning",
        expr=f"""
            time() - livepick_oldest_pending_timestamp_seconds > {_LAG}
            and livepick_oldest_pending_timestamp_seconds > 0
            """,
        lasting="2m",
        dashboard="pipeline",
        summary="A micrograph on {{ $labels.instance }} has waited for its picks for more than ten"
        " minutes. See on the Pipeline dashboard which stage is slow.",
        runbook="Is the output folder writable (LivepickOutputRefused)? Does the GPU pick"
        " (LivepickOnCpu)? Is `read` the slow stage, then the file server is. Is another program on"
        " the cores or the card? Raise `picking.workers`, on a CPU up to the number of cores.",
    ),
    Alert(
        name="LivepickQueueGrows",
        severity="warning",
        expr="""
            deriv(livepick_queue_depth{stage="queued"}[15m]) > 0
            and livepick_queue_depth{stage="queued"} > 20
            """,
        lasting="15m",
        dashboard="pipeline",
        summary="More micrographs land on {{ $labels.instance }} than are picked, for half an hour."
        " See on the Pipeline dashboard which stage is slow; raise picking.workers.",
        runbook="Picking is slower than the microscope. What LivepickFallingBehind says holds here,"
        " with more time. After a new model took over the queue is long once, and shrinks.",
    ),
    Alert(
        name="LivepickOnCpu",
        severity="warning",
        expr=f"""
            livepick_inference_provider_active{{provider="CUDAExecutionProvider"}} == 0
            and {_SAME} livepick_config_info{{device!="cpu"}}
            """,
        lasting="5m",
        dashboard="pipeline",
        summary="The CPU picks on {{ $labels.instance }}, though picking.device asks for a GPU."
        " Run nvidia-smi and livepick check there, then restart livepick.",
        runbook="`nvidia-smi` shows whether the driver works; `livepick check CONFIG` whether"
        " onnxruntime finds it (driver 580 or newer, CUDA 13). A service that started before the"
        " driver stays on the CPU: restart it, and enable `nvidia-persistenced`. Picking goes on,"
        " many times slower; with `picking.device: require-gpu` the service would end instead, and"
        " LivepickDown call. No GPU wanted: `picking.device: cpu`.",
    ),
    Alert(
        name="LivepickOutputRefused",
        severity="critical",
        expr="livepick_output_writable == 0",
        lasting="1m",
        dashboard="pipeline",
        summary="The output folder of {{ $labels.instance }} takes no writes, so picking waits."
        " Free space or mend its permissions; livepick goes on by itself within 30 seconds.",
        runbook="livepick's page names the folder. `df` (blocks and `df -i`), quotas, ownership,"
        " and `ReadWritePaths=` of the unit. No pick is lost: what waits is picked afterwards.",
    ),
    Alert(
        name="LivepickStateRefused",
        severity="critical",
        expr="livepick_state_writable == 0",
        lasting="1m",
        dashboard="pipeline",
        summary="The ledger of {{ $labels.instance }} takes no writes, so all of livepick waits."
        " Free space on the disk of the state folder or mend its permissions; livepick goes on by"
        " itself within a minute.",
        runbook="`journalctl -u livepick` has SQLite's reason. Full or read only: `df` (blocks and"
        " `df -i`), quotas, ownership. Locked: another program has the ledger open to write, close"
        " it. Micrographs that land meanwhile are recorded afterwards, and so the other figures"
        " stand still until then.",
    ),
    Alert(
        name="LivepickDiskFull",
        severity="critical",
        expr=f"""
            livepick_disk_free_bytes{{path_role!="watch"}} < {TIGHT_GIB:g} * 2^30
            and livepick_disk_size_bytes > 0
            {_TOLD_ONCE}
            """,
        lasting="2m",
        dashboard="pipeline",
        summary="The {{ $labels.path_role }} disk of {{ $labels.instance }} is as good as full."
        " Make room now: picking is about to wait for it.",
        runbook=f"Less than {TIGHT_GIB:g} GiB are free. What LivepickDiskAlmostFull says holds"
        " here, in haste. No pick is lost: what waits is picked when there is room.",
    ),
    Alert(
        name="LivepickDiskAlmostFull",
        severity="warning",
        expr=f"""
            livepick_disk_free_bytes{{path_role!="watch"}} / livepick_disk_size_bytes
                < {LOW_FRACTION:g}
            {_TOLD_ONCE}
            """,
        lasting="2m",
        dashboard="pipeline",
        summary="Less than a tenth of the {{ $labels.path_role }} disk of {{ $labels.instance }} is"
        " free. Make room today.",
        runbook="`output` is where coordinates go, `state` where the ledger, models and runs are;"
        " the page names the folder, and all that is on a disk: here it is told of once, as the"
        " first of output, state and watch. Old models go with `livepick models prune`; raw movies"
        " are usually what fills a disk. A watched disk that is as full is said on the page"
        " alone: a file server may be so for years, and `LivepickDiskFillsSoon` tells when it will"
        " not do.",
    ),
    Alert(
        name="LivepickDiskFillsSoon",
        severity="warning",
        expr=f"""
            predict_linear(livepick_disk_free_bytes[1h], seconds(4h)) < 0
            and livepick_disk_size_bytes > 0
            {_TOLD_ONCE}
            """,
        lasting="15m",
        dashboard="pipeline",
        summary="The {{ $labels.path_role }} disk of {{ $labels.instance }} will be full within"
        " four hours, as it goes. Make room before the night.",
        runbook="A straight line through the last hour. livepick itself writes little; the session"
        " or its motion correction fills the disk. Move finished sessions.",
    ),
    Alert(
        name="LivepickMicrographsFail",
        severity="warning",
        expr=f"""
            {_FAILED} / sum without (state) (livepick_latest_micrographs) > {FAILED_FRACTION:g}
            and {_FAILED} > {FAILED_SINGLE}
            and {_SAME} increase(livepick_micrographs_total{{state="failed"}}[30m]) > 0
            """,
        lasting="5m",
        dashboard="pipeline",
        summary=f"{{{{ $value | humanizePercentage }}}} of the last {LATEST} micrographs failed on"
        " {{ $labels.instance }}. Run livepick status: it has each reason and remedy.",
        runbook="And there was one in the last half hour. `livepick status CONFIG` and the page"
        " give reason and remedy of each."
        " `incomplete`: the transfer breaks off. `header`, `movie`: these are no micrographs, see"
        " `watch.include`. `content`: the motion correction. `pixel_size`: set or correct"
        " `micrograph.pixel_size_angstrom`. `io`: the file server. A file that is replaced is"
        " picked again.",
    ),
    Alert(
        name="LivepickWorkersDie",
        severity="warning",
        expr="increase(livepick_worker_crashes_total[15m]) > 1.5",
        lasting="0m",
        dashboard="pipeline",
        summary="Worker processes of {{ $labels.instance }} die. Look for the out-of-memory killer"
        " in journalctl -k; lower picking.workers.",
        runbook="Usually memory: `journalctl -k | grep -i oom`. Fewer `picking.workers`, or a"
        " smaller neighbour. If it is always the same file, it fails as `poison` and the rest goes"
        " on: please report it.",
    ),
    Alert(
        name="LivepickOnPickedFails",
        severity="warning",
        expr=f"{_FAILED_CALLS} > 0.1 * {_CALLS}",
        lasting="5m",
        dashboard="pipeline",
        summary="The program that livepick on {{ $labels.instance }} calls with its picks fails:"
        " what it feeds misses micrographs. Read its messages in journalctl -u livepick.",
        runbook="More than a tenth of the calls of `output.on_picked` in 15 minutes. Picking is not"
        " affected. `outcome` in `livepick_on_picked_calls_total` says how they fail: `failure` (an"
        " exit status; its messages are in `journalctl -u livepick`), `timeout` (slower than"
        " `output.on_picked_timeout_seconds`), `not_started` (`livepick check`, as the service's"
        " user). A call that failed is not repeated: when the program works again, deliver the rest"
        " from `micrographs.csv` in the output folder.",
    ),
    Alert(
        name="LivepickEventsLost",
        severity="info",
        expr="increase(livepick_watch_overflows_total[1h]) > 0",
        lasting="0m",
        dashboard="pipeline",
        summary="The kernel dropped file events of {{ $labels.instance }}. No micrograph is lost, a"
        " rescan finds them; raise fs.inotify.max_queued_events.",
        runbook="A burst of files was longer than the kernel's queue, and all folders were listed"
        " at once. `sysctl fs.inotify.max_queued_events=65536`, or `watch.mode: poll`.",
    ),
    Alert(
        name="LivepickConfigRefused",
        severity="warning",
        expr="livepick_config_last_reload_successful == 0",
        lasting="5m",
        dashboard="session",
        summary="The config of {{ $labels.instance }} was edited and is not taken; the former one"
        " is in force. Run livepick check: it names the line.",
        runbook="`livepick check CONFIG` names every fault with its line. Some settings need a"
        " restart; the page says which. As long as this fires, an edit has had no effect.",
    ),
)

_QUALITY = (
    Alert(
        name="LivepickNothingFound",
        severity="warning",
        expr=f"livepick_consecutive_empty_micrographs >= {EMPTY_IN_ROW}",
        lasting="0m",
        dashboard="session",
        summary="The last {{ $value }} micrographs of {{ $labels.instance }} hold no particle. Look"
        " at them: empty holes, thick ice, or a wrong diameter?",
        runbook="Look at the newest micrographs. Empty ice or carbon: another grid square."
        " Particles to the eye: is `particle.diameter_angstrom` right, `particle.contrast`, the"
        " pixel size? After an edit of the threshold: is it too high?",
    ),
    Alert(
        name="LivepickManyEmpty",
        severity="warning",
        expr="""
            sum without (state) (increase(livepick_micrographs_total{state="empty"}[30m]))
            / sum without (state) (
                increase(livepick_micrographs_total{state=~"picked|empty"}[30m])
            ) > 0.2
            and sum without (state) (
                increase(livepick_micrographs_total{state=~"picked|empty"}[30m])
            ) > 10
            """,
        lasting="5m",
        dashboard="session",
        summary="{{ $value | humanizePercentage }} of the last half hour's micrographs of"
        " {{ $labels.instance }} are empty. Choose other holes or another grid square.",
        runbook="More than a fifth hold no particle at their first picking; what another model or"
        " threshold finds later does not count. What LivepickNothingFound says holds here.",
    ),
    Alert(
        name="LivepickManyBad",
        severity="warning",
        expr=f"""
            (
                ({_BAD} / {_JUDGED} > {BAD_FRACTION:g} and {_BAD} > {BAD_SINGLE})
                or ({_NOT_GOOD} / {_JUDGED} > {DOUBTFUL_FRACTION:g}
                    and {_NOT_GOOD} > {DOUBTFUL_SINGLE})
            )
            and {_SAME} livepick_session_active == 1
            """,
        lasting="5m",
        dashboard="session",
        summary=f"Many of the last {LATEST} micrographs of {{{{ $labels.instance }}}} are bad or"
        " doubtful. The page says why of most; look at them, and choose other holes or another"
        " square.",
        runbook=f"More than {BAD_FRACTION:.0%} are bad, or more than {DOUBTFUL_FRACTION:.0%} bad or"
        " doubtful. livepick's page has the most frequent reason and its remedy, and below each"
        " micrograph why it is so; the Session dashboard has the figures with their limits. All"
        " alike from one moment on: what has changed then (square, focus, motion correction)?",
    ),
    Alert(
        name="LivepickDrift",
        severity="warning",
        expr="livepick_drift_active == 1",
        lasting="5m",
        dashboard="session",
        summary="The last micrographs of {{ $labels.instance }} differ from those that the model"
        " was promoted on ({{ $labels.finding }}). Look at them; if they are good, retrain.",
        runbook="livepick's page says in words what has changed and by how much. Thicker ice or"
        " more carbon: another grid square. Fewer picks on good micrographs: `livepick retrain"
        " CONFIG`, or `retrain.on_drift: true`. Another specimen: start another session.",
    ),
)

_TRAINING = (
    Alert(
        name="LivepickNoModel",
        severity="warning",
        expr=f"""
            livepick_model_info{{kind="blob"}} == 1
            and {_SAME} (livepick_training_running == 0)
            and {_SAME} (
                livepick_ledger_micrographs{{state="picked"}}
                >= {_SAME} livepick_bootstrap_micrographs
            )
            unless {_SAME} (
                livepick_training_ended_timestamp_seconds{{result=~"promoted|kept_aside"}} > 0
            )
            """,
        lasting="30m",
        dashboard="training",
        summary="{{ $labels.instance }} has enough micrographs, and no model has come of them"
        " for half an hour. The page says what training waits for, or why it failed.",
        runbook="Training waits for micrographs that are fit to learn from, and for"
        " `bootstrap.minimum_picks`. Mostly masked, or hardly a pick: see LivepickNothingFound. Did"
        " the run fail? LivepickTrainingFailed says what to do. Once a model has been trained this"
        " is silent, also where the gate has kept it aside (LivepickModelKeptAside), or a person"
        " went back to the blob picker.",
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
        lasting="1m",
        dashboard="training",
        summary="Training failed on {{ $labels.instance }}; picking goes on with the present model."
        " STATE/runs has the trainer's log; mend it, then run livepick retrain.",
        runbook="The page has the reason, `STATE/runs/NNNN/trainer.log` the rest. Out of memory:"
        " `training.minibatch_size`, or the neighbour on the card. A GPU asked for and not there:"
        " `training.device`. It is not tried again by itself: `livepick retrain CONFIG`.",
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
        lasting="1m",
        dashboard="training",
        summary="A new model of {{ $labels.instance }} was not better than the one in use, which"
        " goes on. livepick models show compares them; livepick models promote overrules it.",
        runbook="The gate's figures are on the Training dashboard, and in words on the page."
        " Nothing need be done. `livepick models promote CONFIG N` takes the new one all the same,"
        " and ends this alert, as does the next model that passes.",
    ),
)

ALERTS = (*_COLLECTING, *_PICKING, *_QUALITY, *_TRAINING)
