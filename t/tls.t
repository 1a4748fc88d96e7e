#!/usr/bin/perl

# TLS as Mozilla's intermediate profile has it: what is old is refused, and
# what is offered is forward secret.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest;

my $t = CardxTest->new->start;

# What openssl says of a handshake; the low security level is its own, so that
# it is nginx that refuses.
sub handshake {
    my (@options) = @_;
    my $command = join ' ', 'timeout 20 openssl s_client',
        "-connect 127.0.0.1:$t->{port} -CAfile", $t->ca, @options,
        '</dev/null 2>&1';
    return scalar `$command`;
}

sub refused {
    my ($what, @options) = @_;
    my $said = handshake(@options);
    like($said, qr/CONNECTED/, "$what: there was somebody");
    like($said, qr/alert (?:protocol version|handshake failure)|no protocols/
        , "$what: refused");
    like($said, qr/Cipher is \(NONE\)/, "$what: no cipher");
}

sub taken {
    my ($what, $cipher, @options) = @_;
    my $said = handshake('-verify_return_error', @options);
    like($said, qr/, Cipher is $cipher\b/, "$what: taken");
    like($said, qr/Verify return code: 0 \(ok\)/, "$what: verified");
    return $said;
}

taken('TLS 1.3', 'TLS_\w+', '-tls1_3');
my $said = taken('TLS 1.2', 'ECDHE-ECDSA-\w+', '-tls1_2');
like($said, qr/Server Temp Key: X25519/, 'X25519');
like($said, qr/Secure Renegotiation IS supported/, 'secure renegotiation');
unlike($said, qr/TLS session ticket:/, 'no tickets: their key would not rotate');
unlike($said, qr/^Compression: (?!NONE)/m, 'no compression');

my $weak = ':@SECLEVEL=0';
refused('TLS 1.0', '-tls1', "-cipher 'ALL$weak'");
refused('TLS 1.1', '-tls1_1', "-cipher 'ALL$weak'");

for my $cipher (qw(ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384
    ECDHE-ECDSA-CHACHA20-POLY1305)) {
    taken($cipher, $cipher, '-tls1_2', "-cipher $cipher");
}
for my $cipher (qw(ECDHE-ECDSA-AES128-SHA ECDHE-ECDSA-AES256-SHA384
    ECDHE-ECDSA-AES128-CCM8 ECDHE-ECDSA-NULL-SHA AECDH-NULL-SHA ADH-AES128-SHA
    AES128-GCM-SHA256 DHE-RSA-AES128-SHA)) {
    refused($cipher, '-tls1_2', "-cipher '$cipher$weak'");
}
refused('a small curve', '-tls1_2', '-curves secp224r1',
    "-cipher 'ALL$weak'");

# a session is resumed in TLS 1.2, by the server's own cache
my $session = $t->var . '/tmp/session';
handshake('-tls1_2', "-sess_out $session");
like(handshake('-tls1_2', "-sess_in $session"), qr/^Reused, TLSv1\.2/m,
    'a session is taken up again');

$t->finish;
done_testing;
