-- Version 5: evidence about the particle's size and contrast, from the first micrographs.

create table particle_evidence (
    micrograph_id   integer primary key references micrograph (id) on delete cascade,
    content         integer not null,             -- content that was measured
    measured_at     real not null,                -- unix seconds
    evidence        text,                         -- JSON of ParticleEvidence; null: none
    reason          text,                         -- why it could not be measured, in words
    check ((evidence is null) = (reason is not null))
) strict;
