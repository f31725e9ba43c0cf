#!/bin/sh
# Run once, when a PostgreSQL server is made: the role with which the service comes. What it may do, migrations grant.
set -eu
psql --set ON_ERROR_STOP=1 --set "password=$SERVICE_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE bank_service LOGIN PASSWORD :'password';
SQL
