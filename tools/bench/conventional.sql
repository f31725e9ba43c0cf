\set account random(:first, :last)
BEGIN;
SELECT balance, version FROM conventional.accounts WHERE account_id = :account FOR UPDATE;
INSERT INTO conventional.transactions (account_id, type, amount, balance_after, version_after, idempotency_key)
  SELECT account_id, 'credit', 1.00, balance + 1.00, version + 1, gen_random_uuid()::text
  FROM conventional.accounts WHERE account_id = :account;
UPDATE conventional.accounts SET balance = balance + 1.00, version = version + 1 WHERE account_id = :account;
COMMIT;
