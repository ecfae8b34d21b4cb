-- What is old is found by its number: one index less for every pingback to be written to.
DROP INDEX pingback_by_time;
