"""Outside key services: keys that no machine of ours ever holds.

    location ──▶ one provider for each endpoint ──▶ failover ──▶ recipients
                 kmip  aws  transit  pkcs11

`base` has the contract, and `testing.kms_contract` its tests. A provider's library is imported
when that provider is used and not before.
"""
