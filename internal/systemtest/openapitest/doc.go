// Package openapitest holds httpadapter.NewJSON to its OpenAPI document. It has tests only.
//
// One test writes a client in TypeScript, with types that openapi-typescript generates from the
// document, and runs it. It needs node and npm, which fetches the generator into the user's cache,
// as does the test that needs OpenAPI's own schema of documents. Without node and npm these two are
// skipped with a message, or fail if RECOVERY_REQUIRE_ALL is 1.
package openapitest
