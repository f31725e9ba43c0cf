#!/bin/sh
# Runs once, when a PostgreSQL server is created: makes the role that the service connects as. Migrations grant its privileges.
set -eu
psql --set ON_ERROR_STOP=1 --set "password=$SERVICE_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE bank_service LOGIN PASSWORD :'password';
SQL
