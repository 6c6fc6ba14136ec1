"""A PyKMIP server as a program: as it comes, or with an engine that treats Decrypt otherwise.

    python -W ignore kmip_engine.py ENGINE -f server.conf -l server.log

PyKMIP's cryptography opens RSA with OAEP, and only the handler of Decrypt refuses it.
"""

from __future__ import annotations

import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from kmip.core import enums, exceptions
from kmip.core.messages import payloads
from kmip.pie.sqltypes import ManagedObjectName
from kmip.services.server import engine, server


class DecryptingEngine(engine.KmipEngine):
    """Decrypts with RSA keys, as an HSM does."""

    def _process_decrypt(self, payload):
        key = self._get_object_with_access_controls(
            payload.unique_identifier, enums.Operation.GET_ATTRIBUTES
        )
        if key.state != enums.State.ACTIVE:
            raise exceptions.PermissionDenied("The key must be in the Active state.")
        if enums.CryptographicUsageMask.DECRYPT not in key.cryptographic_usage_masks:
            raise exceptions.PermissionDenied("The usage mask forbids it.")
        self._logger.info("Processing operation: Decrypt")
        try:
            plain = self._opened(key.value, payload)
        except ValueError:
            raise exceptions.CryptographicFailure("Decryption failed.") from None
        return payloads.DecryptResponsePayload(payload.unique_identifier, plain)

    def _opened(self, private, payload):
        parameters = payload.cryptographic_parameters
        return self._cryptography_engine.decrypt(
            parameters.cryptographic_algorithm,
            private,
            payload.data,
            padding_method=parameters.padding_method,
            hashing_algorithm=parameters.hashing_algorithm,
        )


class LiteralEngine(DecryptingEngine):
    """Takes SHA-1 for MGF1 when it was told no hash for it, as the specification says."""

    def _opened(self, private, payload):
        asked = payload.cryptographic_parameters.hashing_algorithm
        used = hashes.SHA1() if asked is enums.HashingAlgorithm.SHA_1 else hashes.SHA256()
        key = serialization.load_der_private_key(private, None)
        return key.decrypt(payload.data, padding.OAEP(padding.MGF1(hashes.SHA1()), used, None))


class UniqueEngine(DecryptingEngine):
    """Insists on names that nothing else has, as the specification says it may."""

    def _set_attributes_on_managed_object(self, managed_object, attributes):
        for name in attributes.get("Name", ()):
            taken = self._data_session.query(ManagedObjectName).filter_by(
                name=name.name_value.value
            )
            if taken.count():
                raise exceptions.IllegalOperation("The name is in use.")
        super()._set_attributes_on_managed_object(managed_object, attributes)


class UnsupportingEngine(engine.KmipEngine):
    """Knows no Decrypt at all."""

    def _process_decrypt(self, payload):
        raise exceptions.OperationNotSupported("Decrypt operation is not supported by the server.")


ENGINES = {
    "stock": engine.KmipEngine,
    "decrypting": DecryptingEngine,
    "literal": LiteralEngine,
    "unique": UniqueEngine,
    "unsupporting": UnsupportingEngine,
}

if __name__ == "__main__":
    server.engine.KmipEngine = ENGINES[sys.argv.pop(1)]
    sys.exit(server.main())
