/** The operations of the API as openapi.json names them, one function each, to be called with the `http` of a client. */
export * from './generated/api/sdk.gen.js';
