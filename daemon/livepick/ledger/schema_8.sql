-- Version 8: class averages that cannot be told from noise, and the diameter they were made with.

alter table class_averages add column noise_particles integer not null default 0;
alter table class_averages add column diameter_angstrom real;  -- null: not recorded
