#!/bin/sh
# Two databases with an owner each, who cannot enter the other's. PostgreSQL's image runs this when its volume is empty.
set -eu
# psql reads the passwords itself: what stands in a command line is read by all users of the machine
: "${PREFECT_DATABASE_PASSWORD:?}" "${OPTUNA_DATABASE_PASSWORD:?}"
psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv prefect PREFECT_DATABASE_PASSWORD
\getenv optuna OPTUNA_DATABASE_PASSWORD
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE ROLE optuna LOGIN PASSWORD :'optuna';
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE optuna OWNER optuna;
REVOKE CONNECT ON DATABASE prefect, optuna FROM PUBLIC;
SQL
