import { utf8 } from './draft.js';

/*
 * Values that must be rejected, by where they are used: the fuzzer draws from these lists, and the tests of bad input
 * try them one by one. Values in JSON bodies are source text, so that they can have forms that JSON.stringify never
 * writes.
 */

/** For fields, parameters and headers. */
export type ByName = Readonly<Record<string, readonly string[]>>;

const words = (text: string) => text.trim().split(/\s+/);
const asBoth = (texts: readonly string[]) => texts.flatMap((text) => [text, `"${text}"`]);

const BAD_NUMBERS = [
  ...asBoth(
    words('1e2 1E2 1e-1 1e400 -1e400 -1 -0 0 0.0 0e0 NaN Infinity -Infinity 0x10 +1 .5 1. 1_0 1,00 １２'),
  ),
  ...words('01 true false null undefined [] [1] {} {"value":1} "" "1\\n" "1\\u0000" "٣" "null"'),
  ...words('"\\ud800" "\\udc00\\ud800" "__proto__"'),
  ...['" "', '" 1 "', '"1 "', "'1'"],
  ...asBoth(['9223372036854775808', '18446744073709551616', '9'.repeat(38), '9'.repeat(400)]),
  '-9223372036854775809',
];

/** Of texts that people write; null means none. */
const BAD_TEXTS = words(
  '"" 1 true [] {} "\\u0000" "a\\nb" "\\u007f" "a\\u0085" "\\ud800" "x\\udfff" ["a"] {"a":1}',
);

const BAD_OBJECTS = [
  ...words('"" 1 true [] [1] "{}" "null" [{}]'),
  ...words('{"a":"\\u0000"} {"\\u0000":1} {"a":"\\ud800"} {"a":1,"a":2} {"a":{"b":1,"b":2}}'),
  `{"a":"${'x'.repeat(5_000)}"}`,
  `${'{"a":'.repeat(900)}1${'}'.repeat(900)}`,
];

const leg = (accountId: number | string, type: string, amount: string) =>
  `{"accountId":${accountId},"type":"${type}","amount":"${amount}"}`;

/** By the name of the schema. */
export const BAD_FIELDS = {
  Amount: [
    ...BAD_NUMBERS,
    ...asBoth(words('0.00 0.00001 1.00005 10.00000 10000000000000000 10000000000000000.00 1e16')),
    '01.0',
  ],
  ExpectedVersion: [
    // Null means none.
    ...BAD_NUMBERS.filter((number) => number !== 'null'),
    ...asBoth(words('2.0 1.5 2e0 0.2e1 02 0x2 txn2 two')),
    ...['" 2"', '"2 "', '[2]', '-{{version}}'],
  ],
  TransactionTypeInput: [
    ...words('null true 1 [] {} ["Deposit"] "" "Transfer" "Deposits" "Deposit\\u0000" "Deposit\\udfff"'),
    ...words('"Depo\\u017fit" "\\ud800" "__proto__" "constructor" "toString"'),
    ...['" Deposit"', `"${'x'.repeat(10_000)}"`],
  ],
  NewOwner: [
    ...words(
      '"" 1 true [] {} "\\u0000" "a\\u0085" "\\ud800" "\\u200b" "\\u3164" "a\\u202eb" "a\\u200f" "Jose\\u0301"',
    ),
    ...['" "', `"${'x'.repeat(256)}"`],
  ],
  AccountIdInput: [...BAD_NUMBERS, ...words('"txn1" "1a" 1.0 "1.0" 2e0')],
  OverdraftLimit: [
    ...words(
      'null true [] {} "" -1 "-0.01" 0.00001 1e2 "1e2" "NaN" "Infinity" 10000000000000000 "１" "1,00" " 1"',
    ),
  ],
  Description: [...BAD_TEXTS, `"${'x'.repeat(501)}"`],
  Reference: [...BAD_TEXTS, `"${'x'.repeat(256)}"`],
  Metadata: BAD_OBJECTS,
  WebhookStatusInput: words('null 1 true [] {} "" "open" "gone" "enabled " "__proto__"'),
  EffectiveDate: [
    ...words(
      '"" 20250101 true [] {} "2025-02-30" "2023-02-29" "2025-13-01" "2025-00-10" "2025-1-1" "20250101"',
    ),
    ...words(
      '"0000-01-01" "0999-01-01" "-2025-01-01" "+2025-01-01" "2025-01-01T00:00:00Z" "２025-01-01" "today" "infinity"',
    ),
  ],
} satisfies ByName;

/** Of fields whose schema has no name, by their own. */
export const BAD_FIELDS_BY_NAME: ByName = {
  reference: BAD_FIELDS.Reference,
  metadata: BAD_OBJECTS,
  expiresAt: [
    ...words('"" 1 true [] {} "now" "infinity" "2025-02-30" "2025-13-01T00:00:00Z" "2025-01-01T25:00:00Z"'),
    ...words('"9999-12-31" "2199-01-01T00:00:00Z" "2099-01-01T00:00:00" "\\u0000"'),
  ],
  expiresInSeconds: words(
    '0 -1 1.5 "1.5" "" true [] {} "01" 31622401 "31622401" 1e1 "1e1" 9223372036854775808 "٣"',
  ),
  legs: [
    ...words('null true {} "" [] [{}] [null,null] [1,2] {"0":{}}'),
    ...words('[{"accountId":1,"type":"Debit","amount":1}]'),
    // Unbalanced, one-sided, an account twice, unknown members.
    `[${leg(1, 'Debit', '1.00')},${leg(2, 'Credit', '1.01')}]`,
    `[${leg(1, 'Debit', '1.00')},${leg(2, 'Debit', '1.00')}]`,
    `[${leg(1, 'Credit', '1.00')},${leg(2, 'Credit', '1.00')}]`,
    `[${leg(1, 'Debit', '1.00')},${leg(1, 'Credit', '1.00')}]`,
    `[${leg(1, 'Debit', '1.00')},${leg('"1"', 'Credit', '1.00')}]`,
    `[${leg(1, 'Debit', '0.00')},${leg(2, 'Credit', '0.00')}]`,
    `[${leg(1, 'Debit', '-1.00')},${leg(2, 'Credit', '-1.00')}]`,
    `[${leg(1, 'Hold', '1.00')},${leg(2, 'Credit', '1.00')}]`,
    `[${leg(1, 'Debit', '1.00", "note":"')},${leg(2, 'Credit', '1.00')}]`,
    `[${leg(1, 'Debit', '1.00", "legs":"')},${leg(2, 'Credit', '1.00')}]`,
    `[${leg(1, 'Debit', '1.00", "amount":"1.00')},${leg(2, 'Credit', '1.00')}]`,
    `[${Array.from({ length: 101 }, (_, n) => leg(n + 1, n === 0 ? 'Debit' : 'Credit', n === 0 ? '100.00' : '1.00')).join()}]`,
  ],
  url: [
    ...words(
      'null 1 true [] {} "" "x" "http" "https:" "https://" "https:///" "ftp://a.invalid" "//a.invalid"',
    ),
    ...words(
      '"https://a:b@c.invalid/" "https://a.invalid/#" "https://a.invalid/\\u0000" "https://\\u0430.invalid"',
    ),
    ...['" https://a.invalid"', '"https://a.invalid/ b"', `"https://a.invalid/${'x'.repeat(2_048)}"`],
  ],
  eventTypes: words(
    'null 1 true "*" {} [] [1] [null] ["x"] ["*","*"] ["transaction.posted.v1"] ["Transaction.posted"] [["*"]]',
  ),
  overlapHours: words('-1 169 "169" 1.5 true [] {} "" "01" 1e1 "x" 9223372036854775808'),
  eventId: words('1 true [] {} "" "txn" "1" "txn0" "txn1/" "hold1/0" "hold1/2/3" "TXN1" "txn1 " "\\u0000"'),
  since: words('1 true [] {} "" "now" "2025-02-30" "2025-01-01T25:00:00Z" "2025-01-01T00:00:00" "\\u0000"'),
  final: words('1 0 "true" "" [] {}'),
  force: words('1 0 "true" "" [] {}'),
  near: BAD_FIELDS.AccountIdInput.filter((id) => id !== 'null'),
  to: BAD_FIELDS.AccountIdInput.filter((id) => id !== 'null'),
  status: words('null 1 true [] {} "" "Open" "active" "frozen " "deleted" "__proto__"'),
};

/** Whole bodies that are not a JSON object. Each character is a byte. */
export const NO_OBJECTS: readonly string[] = [
  ...words(`{ } [ [] [{}] null true 1 "x" NaN {}{} {,} {"a"} {'a':1} {"a":1,} amount=1&type=Deposit <a/>`),
  ...['', ' ', ' \n', '{} x', '{"a":1 /* c */}', '// c\n{}', '{"a":\n', '\0', '{}\0', '\x1f\x8b\x08\0'],
  ...['{"a":1', '{"a":1}}', '{"a":1}{"a":1}', '[{"a":1}]', '{"a":"\0"}'],
  ...['['.repeat(8_000), '['.repeat(8_000) + ']'.repeat(8_000), '[['.repeat(4_000) + ']]'.repeat(4_000)],
  ...['{"a":'.repeat(3_000), '"' + '\\"'.repeat(4_000), '[' + '1,'.repeat(8_000) + '1]', '{}'.repeat(8_001)],
];

/** Whole bodies that no operation accepts. */
export const BAD_BODIES: readonly string[] = [
  ...NO_OBJECTS,
  '{"a":'.repeat(2_500) + '1' + '}'.repeat(2_500),
  '\xef\xbb\xbf{"a":1}',
  // Invalid UTF-8: an unfinished character, a surrogate, a byte that never occurs, overlong forms; and UTF-16.
  ...['{"\xc3":1}', '{"a":"\xe2\x82"}', '{"a":"\xed\xa0\x80"}', '{"a":"\xff"}', '{"a":"\xc0\x80"}'],
  ...['{"a":"\xc0\xaf"}', '{\0}\0', '\xfe\xff\0{\0}'],
];

/** Names of members that no object of the document has. */
export const UNKNOWN_NAMES: readonly string[] = [
  ...words(
    'note __proto__ constructor prototype toString hasOwnProperty valueOf accountId idempotencyKey currency',
  ),
  ...words('Amount AMOUNT ExpectedVersion expected_version ａmount balance version'),
  ...['', ' ', '\0', 'amount ', '\ud800', 'x\udfff', 'x'.repeat(5_000)],
];

/** Such members, as JSON source. */
export const UNKNOWN_MEMBERS: readonly (readonly [string, string])[] = UNKNOWN_NAMES.flatMap((name) => [
  [JSON.stringify(name), '1'],
  [JSON.stringify(name), '{"amount":{"__proto__":[null]}}'],
]);

export const BAD_CONTENT_TYPES: readonly string[] = [
  ...words(
    'text/plain text/json application/x-www-form-urlencoded */* json application/jsonp / ; application',
  ),
  ...words('application/json-patch+json application/vnd.api+json application/xml application/ /json'),
  ...['multipart/form-data; boundary=x', 'application/json, text/plain', 'application /json', ''],
  'a'.repeat(4_000),
];

/** JSON in a charset that JSON does not have. */
export const BAD_CHARSETS: readonly string[] = [
  ...words('utf-16 utf-16le utf-32 utf-7 latin1 iso-8859-1 windows-1252 "utf-16" \xff').map(
    (charset) => `application/json; charset=${charset}`,
  ),
  ...['application/json;charset=UTF-16;x=y', 'Application/JSON; Charset="ISO-8859-1"'],
  'application/json; charset=utf-8; charset=utf-16',
];

export const GOOD_CONTENT_TYPES: readonly string[] = [
  ...[
    'application/json; charset=utf-8',
    'APPLICATION/JSON;Charset="UTF-8"',
    'application/json ; charset=utf8',
  ],
];

/** The rules do not say what a nonsensical parameter leads to. */
export const ODD_CONTENT_TYPES: readonly string[] = [
  ...[
    'application/json;',
    'application/json; =',
    'application/json;;;',
    'application/json; charset=us-ascii',
  ],
  ...['application/json; charset="', 'application/json; charset=', 'application/json; x=\ty'],
];

/** What a body may be said to be, though it is not, or though nobody decodes it. */
export const BAD_ENCODINGS: readonly string[] = [
  ...words('gzip x-gzip br deflate compress zstd utf-8 base64 GZIP'),
  ...['gzip, gzip', 'identity, gzip', 'br;q=1', '\xff', 'identity; gzip'],
];

/** Preconditions and preferences. An operation that does not document one must refuse it. */
export const CONDITIONS: readonly (readonly [string, string])[] = [
  ...['*', '"1"', '"{{version}}"', '"{{version}}-string"', 'W/"1"'].flatMap((tag) => [
    ['If-Match', tag] as const,
    ['If-None-Match', tag] as const,
  ]),
  ['If-Modified-Since', 'Sat, 29 Oct 1994 19:43:31 GMT'],
  ['If-Modified-Since', 'yesterday'],
  ['If-Unmodified-Since', 'Sat, 29 Oct 1994 19:43:31 GMT'],
  ['If-Range', '"1"'],
  ...words('return=minimal handling=strict respond-async wait=1 dry-run').map(
    (preference) => ['Prefer', preference] as const,
  ),
  ['X-HTTP-Method-Override', 'DELETE'],
];

/** Names that were meant to be Idempotency-Key or If-Match, and would change nothing. */
export const MISSPELT_HEADERS: readonly string[] = words(
  'X-Idempotency-Key x-idempotency Idempotency_Key IdempotencyKey Idempotence-Key Idempotency-Keys Idempotency ' +
    'Idempotncy-Key X_Idempotency_Key If_Match IfMatch X-If-Match If-Matc If-Non-Match If_None_Match',
);

/** Names that an operation may have had in mind, but that none has. */
export const UNKNOWN_PARAMETERS: readonly string[] = words(
  'note dryRun dry_run expectedVersion expectedversion __proto__ constructor toString %00 offset page LIMIT Type ' +
    'limit[] format fields idempotencyKey Idempotency-Key accountid %E2%82%AC',
).concat('');

/** Forms of money that there are not. */
export const BAD_ACCEPTS: readonly string[] = [
  ...words('cents text float int "" true').map((form) => `application/json; money=${form}`),
  'application/json;money=number;q=0.1, application/json; money=minor',
];

/** For ids in a path: the ones that do not form a valid URL. */
export const BAD_ESCAPES: readonly string[] = words('%zz % %E0%A4%A %ff %ed%a0%80');

const BAD_IDS = [
  ...words(
    '0 -1 +1 01 1.0 1e3 0x1 abc NaN null undefined true %20 1%20 %201 %00 1%00 %EF%BC%91 %F0%9F%98%80',
  ),
  ...words(
    "..%2f1 1%2F2 1;drop 1'-- 1%3Bdrop%20table %5B%5D {} 9223372036854775808 __proto__ constructor * ~ @",
  ),
  ...['1'.repeat(20), '1'.repeat(500), '9'.repeat(400), '1'.repeat(5_000)],
];

/** By the name of the parameter. */
export const BAD_PARAMETERS = {
  accountId: [...BAD_IDS, ...BAD_ESCAPES, 'txn1', utf8('１')],
  transactionId: [
    ...BAD_IDS,
    ...BAD_ESCAPES,
    ...words('1 txn txn0 txn-1 txn01 TXN1 tpn131 txn1.0 txn1e3 txn%00 txn9223372036854775808 hold1 tr1'),
  ],
  holdId: [
    ...BAD_IDS,
    ...BAD_ESCAPES,
    ...words('1 hold hold0 hold-1 hold01 HOLD1 hodl1 hold1.0 hold%00 txn1 tr1'),
  ],
  transferId: [...BAD_IDS, ...BAD_ESCAPES, ...words('1 tr tr0 tr-1 tr01 TR1 rt1 tr1.0 tr%00 txn1 hold1')],
  webhookId: [...BAD_IDS, ...BAD_ESCAPES, ...words('1 wh wh0 wh-1 wh01 WH1 hw1 wh1.0 wh%00 txn1 hold1')],
  eventId: [
    ...BAD_IDS,
    ...BAD_ESCAPES,
    ...words('1 txn txn0 txn01 TXN1 txn1.0 txn%00 hold1%2F hold1%2F0 hold1%2F2%2F3 %2F1'),
  ],
  dryRun: ['', ...words('1 yes null %00 true%20 tru%C3%A9')],
  status: ['', ...words('gift deleted active%20 active%00 %00 1 null __proto__ %zz')],
  atomic: ['', ...words('1 yes null %00 true%20 tru%C3%A9')],
  minVersion: ['', '1.5', ...BAD_IDS.filter((id) => !/[#;]/.test(id)), ...BAD_ESCAPES],
  limit: [
    '',
    ...words(
      '0 -1 201 1000000000 99999999999999999999 1e1 1e2 1.0 1.5 %2B1 +1 0x10 %EF%BC%91 x all %00 1%00 %zz null',
    ),
  ],
  cursor: [
    ...['', ...words('0 1 x null %00 %zz %F0%9F%98%80 {{otherCursor}}')],
    ...['x'.repeat(200), 'x'.repeat(201), 'x'.repeat(8_000)],
    ...words(
      'accounts:0 accounts:-1 accounts:1e3 accounts:9223372036854775808 accounts: : transactions/1:0',
    ).map((text) => Buffer.from(text).toString('base64url')),
  ],
  type: [
    '',
    ...words(
      'gift Depositt %20Deposit Deposit%00 %00 1 null Depo%C5%BFit __proto__ constructor toString %zz',
    ),
  ],
  from: [
    '',
    ...words(
      '0 now null -infinity infinity 2025-13-01 2025-02-30 2025-1-1 20250101 1735689600 %00 2025-01-01%00 %zz',
    ),
    ...words('2025-01-01T25:00:00Z 2025-01-01T00:00:00 2025-01-01%2000:00:00Z 2025-01-01T00:00:60Z'),
    ...words('+012025-01-01 -000001-01-01 %EF%BC%92025-01-01'),
  ],
} satisfies ByName;

/** Valid but unusual values of parameters. */
export const ODD_PARAMETERS: ByName = {
  accountId: [
    '',
    ...words('9007199254740991 9007199254740992 9007199254740993 9223372036854775807 %31 2147483648'),
    ...words('. .. %2e%2e 1? 1# 1/'),
  ],
  transactionId: ['', ...words('txn9007199254740993 txn9223372036854775807 %74xn1 . ..')],
  minVersion: words('9007199254740993 9223372036854775807 2147483648 %32'),
  limit: words('1 200 01 000000001 %31'),
  cursor: [
    '{{halfCursor}}',
    ...words('accounts:9223372036854775807 accounts:9007199254740993 transactions/1:9223372036854775807')
      .concat('transactions/2:1', 'accounts:1')
      .map((text) => Buffer.from(text).toString('base64url')),
  ],
  type: words('dEPOSIT %44eposit'),
  from: [
    ...words(
      '0000-01-01 0000-12-31T23:59:59Z 0001-01-01 9999-12-31T23:59:59.999999999Z 2025-01-01T24:00:00Z',
    ),
    ...words('2025-01-01T00:00:00%2B23:59 2025-01-01T00:00:00-23:59 0000-01-01T00:00:00%2B23:59'),
    ...words('9999-12-31T23:59:59-23:59 2025-01-01T00:00Z 2025-01-01T00:00:00+02:00 2024-02-29'),
  ],
};

/** By the name of the header, for the operations that document it. */
export const BAD_HEADERS = {
  'Idempotency-Key': [
    ...['', '""', ' ', 'a b', 'a\tb', 'caf\xe9', '"caf\xe9"', utf8('ключ'), '"abc', '"a\\b"', '"a"b"'],
    ...['"a", "b"', '"a b"', '"', 'k'.repeat(256), `"${'k'.repeat(256)}"`, 'k'.repeat(8_000), '\x7f', '\x80'],
  ],
  'If-Match': [
    ...['', '7', '2', '"2', '2"', "'2'", 'W/2', 'w/"2"', '*, "2"', '""2""', '"a b"', '"2" "3"', 'null', ','],
    ...['\x80', '"\x7f"'],
  ],
  'If-None-Match': ['', '7', '"2', '2"', "'2'", 'W/2', '*, "2"', '""2""', '"a b"', 'null', ',', '"2" "3"'],
} satisfies ByName;

/** Headers that the operations ignore or accept with any value. */
export const ODD_HEADERS: readonly (readonly [string, string])[] = [
  ...['a b', '', 'x'.repeat(129), '<script>', '%0d%0aX-Evil: 1', '\xff', '{}'].map(
    (id) => ['X-Request-Id', id] as const,
  ),
  ...['', 'no-cache, no-cache', 'max-age=-1', 'no-cache=', '\xff', 'private="no-cache"'].map(
    (value) => ['Cache-Control', value] as const,
  ),
  ['Idempotency-Key', 'k'.repeat(255)],
  ['Idempotency-Key', `"${'k'.repeat(255)}"`],
  ['Idempotency-Key', '"a\\"b\\\\c"'],
  ['If-Match', Array.from({ length: 900 }, (_, n) => `"${n}"`).join()],
  ['If-Match', '"9223372036854775808", "9007199254740993", "02", W/"{{version}}"'],
  ['If-Match', ', '.repeat(4_000) + '"1"'],
  ['If-Match', '"1"' + ' '.repeat(8_000) + 'x'],
  ['If-None-Match', '"1"' + ' ,'.repeat(5_000) + 'x'],
  ['If-None-Match', '"9223372036854775808", "9007199254740993", "02"'],
  ['Accept', 'text/html;q=1, */*;q=0'],
  ['Accept', 'application/json;money=string;q=x, application/problem+json;;, "'],
  ['Accept', 'application/problem+json;money=string;q=0.001'],
  ['Accept', ', application/json; money=string'.repeat(400)],
  ['Accept', '\xff'],
  ['Accept-Encoding', 'gzip;q=x, br'],
  ['Content-Encoding', ''],
  ['Content-Language', 'tlh'],
  ['Range', 'bytes=0-1'],
  ['Range', 'bytes=9-1,-'],
  ['Expect', '100-continue'],
  ['Expect', 'wonders'],
  ['Upgrade', 'websocket'],
  ['Upgrade', 'h2c'],
  ['TE', 'trailers, chunked'],
  ['Trailer', 'X-Sum'],
  ['Connection', 'close'],
  ['Connection', 'keep-alive, Upgrade'],
  ['Connection', '\xff'],
  ['Keep-Alive', 'timeout=-1'],
  ['X-HTTP-Method-Override', 'DELETE'],
  ['X-Forwarded-For', '::ffff:0:0:0, 999.1.1.1, "'],
  ['X-Forwarded-Host', 'evil'],
  ['X-Forwarded-Proto', '\xff'],
  ['Forwarded', 'for="[::'],
  ['Authorization', 'Bearer \xff'],
  ['Cookie', '__proto__=1; a'],
  ['Origin', 'null'],
  ['Content-MD5', '='],
  ['__proto__', 'x'],
  ['constructor', 'x'],
  ['Host', ''],
  ['Host', 'a b'],
  ['Host', '[::1'],
  ['X-Long', 'x'.repeat(9_000)],
];

/** Header lines that are not valid HTTP, or longer than the limit. */
export const BAD_HTTP_HEADERS: readonly (readonly [string, string])[] = [
  ['X-Nul', 'a\0b'],
  ['X-Feed', 'a\nb'],
  ['X-Return', 'a\rb'],
  ['X-Folded', 'a\r\n b'],
  ['X Space', 'a'],
  ['X-Space ', 'a'],
  ['', 'a'],
  ['X\xe9', 'a'],
  ['X(', 'a'],
  ['Content-Length', 'x'],
  ['Content-Length', '-1'],
  ['Content-Length', '1e1'],
  ['Content-Length', '9'.repeat(30)],
  ['X-Long', 'x'.repeat(20_000)],
  ...Array.from({ length: 3 }, (_, n) => [`X-${'n'.repeat(n)}`, 'y'.repeat(16_384)] as const),
];

export const METHODS: readonly string[] = [
  ...words(
    'HEAD OPTIONS PUT PATCH DELETE TRACE PROPFIND SEARCH QUERY LOCK LINK M-SEARCH GET POST get Post FOO CONNECT',
  ),
  ...['GE T', ''],
];

/** Methods that no path has. */
export const WRONG_METHODS: readonly string[] = words(
  'OPTIONS PUT PATCH DELETE TRACE PROPFIND SEARCH LOCK LINK M-SEARCH REPORT',
);

/** Replacements of the whole path. */
export const PATHS: readonly string[] = [
  ...words('/ /accounts nothing accounts/ Accounts %61ccounts accounts%2F1 accounts%3Flimit=1 %2561ccounts'),
  ...words('accounts/1/ accounts/1//balance accounts/1/balance/ accounts/1/Balance accounts/1/balance.json'),
  ...words(
    'accounts/./1 accounts/../accounts accounts/1/%2e%2e/2 transactions transactions/ transactions/txn1/x',
  ),
  ...words(
    'health health/ metrics/ metrics%00 health/live%20 %zz % %00 %ff .. ../.. %2e%2e/%2e%2e/etc/passwd ; * ~',
  ),
  ...words(
    'docs docs/ docs/x docs/%00 docs/..%2f..%2fpackage.json docs/../package.json docs/%zz docs/%2e%2e',
  ),
  ...words(
    'docs/swagger-ui.css docs/index.html docs/swagger-initializer.js openapi.json openapi.json/ openapi.yaml',
  ),
  ...words(
    'favicon.ico .env http://bank/accounts http://bank/nothing http://a:b@[::1]:x/accounts ftp://bank/',
  ),
  ...words('__proto__ constructor accounts/__proto__/balance accounts#x accounts;x=1 accounts\\1 \x7f'),
  ...['', utf8('счета'), 'x'.repeat(8_000), 'a/'.repeat(4_000)],
];

/** Replacements of the whole query. */
export const SUFFIXES: readonly string[] = [
  ...words('? ?? ?& ?&&=& ?= ?% ?%zz=1 ?a[b]=1 ?a[]=1&a[]=2 ?__proto__=1 ?__proto__[x]=1 ?constructor=1'),
  ...words(
    '?limit ?limit= ?limit=1;cursor=x ?LIMIT=1 ?%6cimit=1 ?limit=1&limit=1 ?limit[]=1 ?toString=1 ?\xff=1',
  ),
  ...words('# #x ?limit=1#x ?limit=1?limit=2'),
  ...[`?${'a&'.repeat(3_000)}`, `?${'limit=1&'.repeat(900)}`, `?x=${'x'.repeat(9_000)}`],
];
