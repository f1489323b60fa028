-- Version 6: source of the CTF figures, the outcome of livepick's own fit, and class averages.

alter table micrograph add column ctf_source text      -- who has measured the figures; null: none
    check (ctf_source in ('fitted', 'program'));
alter table micrograph add column ctf_outcome text     -- of the fit here; null: not tried yet
    check (ctf_outcome in ('trusted', 'not_trusted', 'failed'));
alter table micrograph add column ctf_score real;      -- correlation of that fit, trusted or not
alter table micrograph add column ctf_reason text;     -- why there is no trusted fit, in words
alter table micrograph add column ctf_settings text;   -- settings of the microscope that it used

update micrograph set ctf_source = 'program' where defocus_u_angstrom is not null;

create index micrograph_without_fit on micrograph (id)
    where picked_content is not null and ctf_source is not 'program' and ctf_outcome is null;

-- Class averages of the newest picks, made now and then during the session.

create table class_averages (
    number          integer primary key,          -- same as in classes/NNNN
    made_at         real not null,                -- unix seconds
    model_version   integer not null,             -- model that made the picks of the first one
    first_id        integer not null,             -- micrographs that the particles are from
    last_id         integer not null,
    micrographs     integer not null,             -- number of them; some in between may be left out
    particles       integer not null,
    good_particles  integer not null,             -- particles in classes that show a particle
    classes         integer not null,
    good_classes    integer not null,
    view_state      text not null
                    check (view_state in ('balanced', 'one_view', 'round', 'unknown')),
    view_fraction   real,                         -- of the good particles, in the largest view
    views           integer not null              -- views that can be told apart
) strict;
