// The first entries of a log that till wrote, and the checkpoint of its start.

export const LOG = {
 "entries": [
  {
   "seq": 1,
   "at": "2026-11-30T03:00:01.849Z",
   "actor": {
    "kind": "system",
    "id": "system",
    "address": null,
    "requestId": null
   },
   "action": "token.put",
   "target": "owner",
   "detail": "{\"name\":\"owner\",\"role\":\"owner\",\"tokenHash\":\"bb0dfdcaf2648883ba48cfff4e71649cfc2aae6d08661f0c2fa5206bf7957de4\"}",
   "prevHash": "0000000000000000000000000000000000000000000000000000000000000000",
   "hash": "90a63a10bc910fa2f186ba4b106fa4ca91d5d0fdc779456f8bba77aeb04d1bee"
  },
  {
   "seq": 2,
   "at": "2026-11-30T03:00:01.855Z",
   "actor": {
    "kind": "system",
    "id": "system",
    "address": null,
    "requestId": null
   },
   "action": "instance.start",
   "target": "http://127.0.0.1:4177",
   "detail": "{\"listen\":\"127.0.0.1:4177\",\"settings\":{\"data\":\"f5db1cec9d5e8e7a\",\"listen\":\"75cb90cb61bddf9c\",\"log-requests\":\"a288bafb1fb02bf7\",\"provider-url\":\"ca6c742e7c0b507e\"},\"version\":\"0.1.0\"}",
   "prevHash": "90a63a10bc910fa2f186ba4b106fa4ca91d5d0fdc779456f8bba77aeb04d1bee",
   "hash": "f1b8c250924111b49e559c68e834bf83adc3e4cdaa5c07455c1ae22f1bcdf395"
  },
  {
   "seq": 3,
   "at": "2026-11-30T03:00:01.856Z",
   "actor": {
    "kind": "system",
    "id": "system",
    "address": null,
    "requestId": null
   },
   "action": "audit.key",
   "target": "1303a5fc22910356",
   "detail": "{\"algorithm\":\"ed25519\",\"publicKey\":\"80ab7224c97cbc40c8232e3f414c354350613572c48d478af59e354739184acd\"}",
   "prevHash": "f1b8c250924111b49e559c68e834bf83adc3e4cdaa5c07455c1ae22f1bcdf395",
   "hash": "40c0b5b58dbac4e09766eb58dbef736016d1e70eb93f7ebcb4f2a8ec2239f0fe"
  },
  {
   "seq": 4,
   "at": "2026-11-30T03:00:28.300Z",
   "actor": {
    "kind": "admin",
    "id": "owner",
    "address": "127.0.0.1:46524",
    "requestId": "req_9ae6e057b39300000000"
   },
   "action": "project.create",
   "target": "search-team",
   "detail": "{\"name\":\"Search team\",\"policy\":{\"ceilings\":{\"day\":{\"maxActivations\":null,\"maxSpendUsd\":\"0.01\",\"maxTokens\":null},\"lifetime\":{\"maxActivations\":null,\"maxSpendUsd\":null,\"maxTokens\":null},\"month\":{\"maxActivations\":null,\"maxSpendUsd\":\"100.00\",\"maxTokens\":1000000}},\"keyLimits\":{\"maxActivations\":null,\"maxSpendUsd\":\"5.00\",\"maxTokens\":null},\"maxKeyLifetimeSeconds\":604800,\"maxLiveKeys\":100,\"models\":[\"gpt-*\"],\"providers\":[\"openai\"]}}",
   "prevHash": "40c0b5b58dbac4e09766eb58dbef736016d1e70eb93f7ebcb4f2a8ec2239f0fe",
   "hash": "3e6f7a36f86a9c3e0852cee5976f591183fd876ab9d2f4be74d1bbd1fb051878"
  }
 ],
 "checkpoints": {
  "anchor": null,
  "keys": [
   {
    "keyId": "1303a5fc22910356",
    "publicKey": "80ab7224c97cbc40c8232e3f414c354350613572c48d478af59e354739184acd"
   }
  ],
  "checkpoints": [
   {
    "seq": 3,
    "hash": "40c0b5b58dbac4e09766eb58dbef736016d1e70eb93f7ebcb4f2a8ec2239f0fe",
    "at": "2026-11-30T03:00:01.856Z",
    "instanceId": "8df8f18c3830c0c000fd65acec2d6e03",
    "keyId": "1303a5fc22910356",
    "signature": "69f121c4290afc4642c76de46f3af40c59a6d6a6b9141f51bc425a9ff1301c545a137ff0d0d748b288de7ea270f9590f9d9366bb53491651d1e3ad0be0e9ad02"
   }
  ],
  "nextAfter": 3
 }
};
