import assert from "node:assert/strict";
import { test } from "node:test";
import { match } from "../src/match";

test("paths match their patterns and no others", () => {
  assert.deepEqual(match("/", "/"), {});
  assert.equal(match("/", "/keys"), null);
  assert.deepEqual(match("/keys/:id", "/keys/key_1"), { id: "key_1" });
  assert.deepEqual(match("/keys/:id", "/keys/a%2Fb"), { id: "a/b" });
  assert.equal(match("/keys/:id", "/keys/%E0%A4%A"), null);
  assert.equal(match("/keys/:id", "/keys"), null);
  assert.deepEqual(match("/keys", "/keys/"), {});
});
