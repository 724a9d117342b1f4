// Verify a receipt with libsodium: who signed it, and that an output is the one that it names (docs/receipts.md).
#pragma once

#include <sodium.h>

#include <cpprest/json.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace receipt {

using Bytes = std::vector<unsigned char>;

inline Bytes unbase64(const std::string& text) {
    Bytes bytes(text.size());
    size_t length = 0;
    const char* end = nullptr;
    const int variant = sodium_base64_VARIANT_ORIGINAL;
    if (sodium_base642bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &length, &end, variant) != 0 ||
        end != text.data() + text.size())
        throw std::runtime_error("the receipt has text that is not base64");
    bytes.resize(length);
    return bytes;
}

// The Ed25519 key of a PeerId: base58btc of 00 24 08 01 12 20 and the key (libp2p's identity multihash).
inline Bytes public_key(const std::string& peer_id) {
    static const std::string digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    Bytes bytes(38, 0);
    if (peer_id.size() > 64) throw std::runtime_error("the PeerId is too long");
    for (const char character : peer_id) {
        size_t carry = digits.find(character);
        if (carry == std::string::npos) throw std::runtime_error("the PeerId is not base58");
        for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
            carry += 58 * static_cast<size_t>(*byte);
            *byte = carry & 0xff;
            carry >>= 8;
        }
        if (carry != 0) throw std::runtime_error("the PeerId is too long");
    }
    const unsigned char head[] = {0x00, 0x24, 0x08, 0x01, 0x12, 0x20};
    if (!std::equal(std::begin(head), std::end(head), bytes.begin()))
        throw std::runtime_error("the PeerId is not that of an Ed25519 key");
    return {bytes.begin() + sizeof head, bytes.end()};
}

// DSSE's pre-authentication encoding: what is signed.
inline std::string signed_bytes(const std::string& type, const std::string& payload) {
    return "DSSEv1 " + std::to_string(type.size()) + " " + type + " " + std::to_string(payload.size()) + " " + payload;
}

inline std::string sha256(const std::string& bytes) {
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    char text[2 * sizeof digest + 1];
    sodium_bin2hex(text, sizeof text, digest, sizeof digest);
    return text;
}

// Return the receipt's statement, if it is signed by the trusted node, about this job, and has this stdout.
inline web::json::value verified(const web::json::value& envelope, const std::string& trusted, const std::string& job_id,
                                 const std::string& standard_output) {
    if (sodium_init() < 0) throw std::runtime_error("libsodium does not start");
    const std::string type = "application/vnd.in-toto+json";
    if (envelope.at("payloadType").as_string() != type) throw std::runtime_error("the receipt is of another type");
    const Bytes payload = unbase64(envelope.at("payload").as_string()), key = public_key(trusted);
    const std::string statement_json(payload.begin(), payload.end()), message = signed_bytes(type, statement_json);
    bool is_signed = false;
    for (const auto& item : envelope.at("signatures").as_array()) {
        const Bytes signature = unbase64(item.at("sig").as_string());
        is_signed |= signature.size() == crypto_sign_BYTES &&
                     crypto_sign_verify_detached(signature.data(), reinterpret_cast<const unsigned char*>(message.data()),
                                                 message.size(), key.data()) == 0;
    }
    if (!is_signed) throw std::runtime_error("the receipt is not signed by " + trusted);
    const web::json::value statement = web::json::value::parse(statement_json);
    if (statement.at("predicateType").as_string() != "urn:phase:receipt:v0")
        throw std::runtime_error("the statement is not a receipt");
    const web::json::value& predicate = statement.at("predicate");
    if (predicate.at("node").at("peerId").as_string() != trusted) throw std::runtime_error("the receipt names another node");
    if (predicate.at("asked").at("jobId").as_string() != job_id) throw std::runtime_error("the receipt is another job's");
    for (const auto& subject : statement.at("subject").as_array())
        if (subject.at("name").as_string() == "stdout" && subject.at("digest").at("sha256").as_string() == sha256(standard_output))
            return statement;
    throw std::runtime_error("the stdout is not what the receipt says");
}

}  // namespace receipt
