-- Version 6: source of the CTF figures, and the outcome of livepick's own fit.

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
