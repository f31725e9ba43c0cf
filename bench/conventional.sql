\set account random(:first, :last)
BEGIN;
SELECT balance, version FROM bank.accounts WHERE account_id = :account FOR UPDATE;
INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after, idempotency_key)
  SELECT account_id, 'credit', 1.00, balance + 1.00, version + 1, gen_random_uuid()::text
  FROM bank.accounts WHERE account_id = :account;
UPDATE bank.accounts SET balance = balance + 1.00, version = version + 1 WHERE account_id = :account;
COMMIT;
