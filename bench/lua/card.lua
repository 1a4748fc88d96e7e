-- /c/{card_id} in OpenResty's way: the peer that the module is measured
-- beside.  As good as it gets in Lua: everything that can be is local and made
-- once, sums are OpenSSL's by FFI over buffers that are reused, the HMAC's
-- pads are hashed already, Redis is asked by one command over a pooled
-- connection.  It does what the module does for a card as JSON, and answers
-- the same bytes; pages, media and misses go to a named location.

local base64 = require "ngx.base64"
local bit = require "bit"
local ffi = require "ffi"
local redis = require "nginx.redis"

local C = ffi.C
local band, bor = bit.band, bit.bor
local lshift, rshift = bit.lshift, bit.rshift
local byte, find, format = string.byte, string.find, string.format
local match, sub = string.match, string.sub
local decode_base64url = base64.decode_base64url
local exec, exit, now, print = ngx.exec, ngx.exit, ngx.time, ngx.print
local ngx, null, tonumber = ngx, ngx.null, tonumber

ffi.cdef[[
typedef struct { unsigned char state[128]; } cardx_sha256_t;
int SHA256_Init(cardx_sha256_t *c);
int SHA256_Update(cardx_sha256_t *c, const void *data, size_t len);
int SHA256_Final(unsigned char *md, cardx_sha256_t *c);
]]

local STATE = 128
local sha = ffi.new("cardx_sha256_t")
local inner = ffi.new("cardx_sha256_t")
local outer = ffi.new("cardx_sha256_t")
local digest = ffi.new("unsigned char[32]")
local raw = ffi.new("unsigned char[16]")
local hex = ffi.new("char[32]")
local digits = ffi.new("char[16]", "0123456789abcdef")

local base32 = ffi.new("int8_t[256]")
for i = 0, 255 do base32[i] = -1 end
for i = 0, 31 do
    local c = byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", i + 1)
    base32[c] = i
    if i < 26 then base32[c + 32] = i end
end

local REFUSED = '{"type":"about:blank","title":"Not Found","status":404,'
    .. '"detail":"There is no such card, or the key does not open it.",'
    .. '"code":"key_refused"}'

local _M = {}
local address


-- The id key's two pads (RFC 2104), hashed once.
function _M.init(file, redis_address)
    local input = assert(io.open(file))
    local text = input:read("*a")
    input:close()

    local pad = ffi.new("unsigned char[64]")
    for i = 0, 31 do
        pad[i] = tonumber(sub(text, 2 * i + 1, 2 * i + 2), 16)
    end
    for i = 0, 63 do pad[i] = bit.bxor(pad[i], 0x36) end
    C.SHA256_Init(inner)
    C.SHA256_Update(inner, pad, 64)
    for i = 0, 63 do pad[i] = bit.bxor(pad[i], 0x36, 0x5c) end
    C.SHA256_Init(outer)
    C.SHA256_Update(outer, pad, 64)

    address = redis_address
end


local function id_is_right(id)
    local bytes = decode_base64url(id)
    if not bytes or #bytes ~= 21 then
        return false
    end

    ffi.copy(sha, inner, STATE)
    C.SHA256_Update(sha, "c", 1)
    C.SHA256_Update(sha, bytes, 16)
    C.SHA256_Final(digest, sha)
    ffi.copy(sha, outer, STATE)
    C.SHA256_Update(sha, digest, 32)
    C.SHA256_Final(digest, sha)

    local differ = 0
    for i = 0, 4 do
        differ = bor(differ, bit.bxor(digest[i], byte(bytes, 17 + i)))
    end
    return differ == 0
end


-- The key's name in Redis: half of its SHA-256 in hex.
local function key_name(key)
    if not key or #key ~= 26 then
        return nil
    end

    local acc, bits, n = 0, 0, 0
    for i = 1, 26 do
        local digit = base32[byte(key, i)]
        if digit < 0 then
            return nil
        end
        acc = band(bor(lshift(acc, 5), digit), 0xfff)
        bits = bits + 5
        if bits >= 8 then
            bits = bits - 8
            raw[n] = band(rshift(acc, bits), 0xff)
            n = n + 1
        end
    end
    if band(acc, lshift(1, bits) - 1) ~= 0 then
        return nil
    end

    C.SHA256_Init(sha)
    C.SHA256_Update(sha, raw, 16)
    C.SHA256_Final(digest, sha)
    for i = 0, 15 do
        hex[2 * i] = digits[rshift(digest[i], 4)]
        hex[2 * i + 1] = digits[band(digest[i], 15)]
    end
    return ffi.string(hex, 32)
end


local function refuse()
    local header = ngx.header
    ngx.status = 404
    header["Content-Type"] = "application/problem+json"
    header["Content-Length"] = #REFUSED
    header["Cache-Control"] = "no-store"
    print(REFUSED)
    return exit(404)
end


local function ask(name, field, body)
    local red = redis:new()
    red:set_timeout(1000)

    if not red:connect(address, { pool_size = 128 }) then
        return nil
    end

    local reply = red:hmget(name, "v", "d", field, body)
    if not reply then
        return nil
    end

    red:set_keepalive(60000, 128)
    return reply
end


-- A tag of If-None-Match is compared weakly (RFC 9110, 13.1.2).
local function is_known(etag)
    local value = ngx.var.http_if_none_match
    return value and (value == "*" or find(value, etag, 1, true))
end


function _M.fetch()
    local var = ngx.var
    local id = sub(var.uri, 4)

    if #id ~= 28 or not id_is_right(id) then
        return refuse()
    end

    local hash = key_name(var.http_cardx_key or var.arg_k)
    if not hash then
        return refuse()
    end

    local accept = var.http_accept
    if var.arg_version
        or (accept and accept ~= "*/*" and not find(accept, "json", 1, true))
    then
        return exec("@miss")
    end

    local name = "cardx:card:{" .. id .. "}"
    local field = "k:" .. hash
    local view = ""
    local reply, key

    for _ = 1, 2 do
        reply = ask(name, field, "b:" .. view)
        if not reply or reply[1] == null then
            return exec("@miss")
        end
        if reply[1] == "x" then
            return refuse()
        end

        key = reply[3]
        if reply[2] ~= null or key == null then
            return exec("@miss")
        end

        local expires, shown = match(key, "^(%d+) (.*)$")
        if not expires then
            if byte(key) == 120 then -- x
                return refuse()
            end
            return exec("@miss")
        end
        if tonumber(expires) <= now() then
            return refuse()
        end
        if shown == view then
            break
        end
        view = shown
    end

    local body = reply[4]
    if body == null then
        return exec("@miss")
    end

    local etag = format('"%s-%sj"', reply[1], view)
    local header = ngx.header
    header["ETag"] = etag
    header["Vary"] = "Accept"
    header["Cache-Control"] = "private, no-cache"
    header["Referrer-Policy"] = "no-referrer"

    if is_known(etag) then
        ngx.status = 304
        return ngx.send_headers()
    end

    header["Content-Type"] = "application/jscontact+json"
    header["Content-Length"] = #body
    print(body)
end


return _M
