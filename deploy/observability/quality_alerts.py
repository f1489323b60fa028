"""Alerts on the quality of micrographs and picks."""

from livepick.config.alert_thresholds import (
    BAD_FRACTION,
    BAD_SINGLE,
    CLASS_GOOD_FRACTION,
    CLASS_JUDGED_PARTICLES,
    CTF_FITS,
    CTF_NOT_TRUSTED_FRACTION,
    DOUBTFUL_FRACTION,
    DOUBTFUL_SINGLE,
    EMPTY_IN_ROW,
    LATEST,
)
from observability.alert import Alert

__all__ = ["QUALITY_ALERTS"]

_SAME = "on (job, instance)"
_BAD = 'sum without (verdict) (livepick_latest_quality_verdicts{verdict="bad"})'
_NOT_GOOD = 'sum without (verdict) (livepick_latest_quality_verdicts{verdict=~"bad|doubtful"})'
_FITS = 'sum without (outcome) (livepick_latest_ctf_fits{outcome=~"trusted|not_trusted"})'
_JUDGED = "sum without (verdict) (livepick_latest_quality_verdicts)"

QUALITY_ALERTS = (
    Alert(
        name="LivepickParticleContradicted",
        severity="warning",
        expr="livepick_particle_contradiction == 1",
        in_use=True,
        lasting="0m",
        dashboard="session",
        summary="The micrographs of {{ $labels.instance }} contradict its config: the particle has"
        " another diameter or contrast, so most picks may be wrong. See livepick status.",
        runbook="`livepick status CONFIG` and the page say what was given, and what the first"
        " micrographs show, with circles of both sizes. If the config is wrong, correct"
        " `particle.diameter_angstrom` or `particle.contrast`: all is picked again by itself. If"
        " it is right, accept it with narrow bounds, `particle.diameter_between_angstrom: [LOW,"
        " HIGH]`. Training waits 30 minutes for an answer, and then begins with what was given.",
    ),
    Alert(
        name="LivepickParticleInDoubt",
        severity="info",
        expr="livepick_particle_question == 1",
        in_use=True,
        lasting="0m",
        dashboard="session",
        summary="The micrographs of {{ $labels.instance }} allow two sizes of the particle. Choose"
        " one in the config (livepick status), or the better one is taken after 30 minutes.",
        runbook="`particle.diameter_angstrom` or `particle.contrast` is `auto`, and the first"
        " micrographs fit two answers nearly as well. Picking continues with the better one. The"
        " page shows circles of both: write the right number into the config.",
    ),
    Alert(
        name="LivepickNothingFound",
        severity="warning",
        expr=f"livepick_consecutive_empty_micrographs >= {EMPTY_IN_ROW}",
        in_use=True,
        lasting="0m",
        dashboard="session",
        summary="The last {{ $value }} micrographs of {{ $labels.instance }} have no particles."
        " Look at them: empty holes, thick ice, or a wrong diameter?",
        runbook="Look at the newest micrographs. Empty ice or carbon: choose another grid square."
        " If you can see particles, check `particle.diameter_angstrom`, `particle.contrast` and"
        " the pixel size. After an edit of the threshold: is it too high?",
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
        runbook="More than a fifth have no particle when they are first picked; what another model"
        " or threshold finds later does not count. The causes are those of LivepickNothingFound.",
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
        " doubtful. The page gives the main reason; look at them, and choose other holes or"
        " another grid square.",
        runbook=f"More than {BAD_FRACTION:.0%} are bad, or more than {DOUBTFUL_FRACTION:.0%}"
        " are bad or doubtful. livepick's page shows the most frequent reason and its remedy, and"
        " the reason below each micrograph. The Session dashboard shows the figures and limits."
        " If all micrographs changed at the same time, what changed then (square, focus, motion"
        " correction)?",
    ),
    Alert(
        name="LivepickCtfNotTrusted",
        severity="info",
        expr=f"""
            sum without (outcome) (livepick_latest_ctf_fits{{outcome="not_trusted"}})
            > {CTF_NOT_TRUSTED_FRACTION:g} * {_FITS}
            and {_FITS} >= {CTF_FITS}
            and {_SAME} livepick_session_active == 1
            """,
        lasting="0m",
        dashboard="session",
        summary="The CTF fits of most of the latest micrographs of {{ $labels.instance }} do not"
        " hold. Empty holes, thick ice or drift?",
        runbook=f"More than {CTF_NOT_TRUSTED_FRACTION:.0%} of the fits to the {LATEST} micrographs"
        " that landed last are not trusted, so these have no defocus. Bad micrographs, those"
        " without picks, and those that cannot be fitted (pixels larger than 3 Å) do not count. The"
        " page shows the reason of each. If the micrographs are good, check"
        " `microscope.voltage_kv`, `microscope.spherical_aberration_mm` and the pixel size. With a"
        " phase plate, which is not supported, or with a dose too low for Thon rings: set"
        " `micrograph.ctf: off`.",
    ),
    Alert(
        name="LivepickFewGoodClasses",
        severity="warning",
        expr=f"""
            livepick_class_good_particle_fraction < {CLASS_GOOD_FRACTION:g}
            and {_SAME} livepick_class_particles >= {CLASS_JUDGED_PARTICLES}
            and {_SAME} livepick_session_active == 1
            """,
        lasting="0m",
        dashboard="session",
        summary="Only {{ $value | humanizePercentage }} of the newest picks of"
        " {{ $labels.instance }} are in class averages that show a particle. Look at them on the"
        " page: noise or junk among the picks, a wrong diameter, or broken particles?",
        runbook=f"Less than {CLASS_GOOD_FRACTION:.0%} of the particles are in good classes. The"
        " page shows the averages, with the micrographs that they are of. Junk beside good"
        " classes: raise `picking.threshold`, or wait for the first training. If the page says that"
        " the class averages cannot be told from noise: raise it if many picks lie where no"
        " particle is; if they lie on particles, the signal is too weak for class averages. No good"
        " class: check `particle.diameter_angstrom` and `particle.contrast`; if they are right, the"
        " particles may be broken, or the ice too thick.",
    ),
    Alert(
        name="LivepickDrift",
        severity="warning",
        expr="livepick_drift_active == 1",
        in_use=True,
        lasting="5m",
        dashboard="session",
        summary="The last micrographs of {{ $labels.instance }} differ from those that the model"
        " was promoted on ({{ $labels.finding }}). Look at them; if they are good, retrain.",
        runbook="livepick's page says what has changed and by how much. Thicker ice or more carbon:"
        " choose another grid square. Fewer picks on good micrographs: `livepick retrain CONFIG`,"
        " or `retrain.on_drift: true`. Another specimen: start another session.",
    ),
)
