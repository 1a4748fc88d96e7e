#!/usr/bin/perl
# What was found broken once, each as somebody would try it who means harm.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(hmac_sha256 sha256_hex);
use IO::Socket::SSL ();
use IO::Socket::UNIX ();
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;

my $t = CardxTest->new->start;
my $anna = $t->register('+8613800009001');
my $token = { token => $anna->{access_token} };

sub card { $t->card($token, name => { full => 'Anna Ito' }, @_) }
sub key { $t->key($token, @_) }

# What clients send to Redis while the code runs.
sub sent_to_redis {
    my ($code) = @_;
    my $socket = IO::Socket::UNIX->new(Peer => $t->{redis}) or die "Redis: $!";
    my @commands;

    print $socket "MONITOR\r\n";
    $socket->flush;
    <$socket>;
    $code->();
    $t->redis('ECHO', 'that was it');

    while (my $line = <$socket>) {
        last if $line =~ /"that was it"/;
        next if $line =~ /^\S+ \[\d+ lua\]/;
        my @words = $line =~ /"((?:[^"\\]|\\.)*)"/g;
        s/\\x([0-9a-f]{2})|\\(.)/defined $1 ? chr hex $1
            : { n => "\n", r => "\r", t => "\t" }->{$2} || $2/ge for @words;
        push @commands, \@words;
    }
    return @commands;
}

# --- a projection that was under way when its key was revoked --------------

# A worker has read that the key is good, and is then slow: its commands
# reach Redis after the revocation is in force, before or after fanout has
# seen it.
{
    my $id = card();
    my $drawn = key($id);
    my $fetch = sub { $t->get("/c/$id", undef, { key => $drawn->{key} }) };

    $t->outbox_empty;
    $t->redis('DEL', "cardx:card:{$id}",
        'cardx:q:' . CardxTest::hash_name($drawn->{key}));

    my @late = grep { $_->[0] =~ /^EVAL/ && "@$_" =~ /$id/ } sent_to_redis(sub {
        is($fetch->()->{status}, 200, 'a fetch that a worker answers');
        is($t->get($drawn->{url})->{status}, 302, 'a scan, too');
    });
    cmp_ok(scalar @late, '>=', 3, 'what they project: card, key, redirect');

    $t->signal('fanout', 'STOP');
    is($t->delete("/v1/cards/$id/keys/$drawn->{key_id}", undef, $token)
        ->{status}, 204, 'the key is revoked');
    is($fetch->()->{status}, 404, 'and opens nothing');

    for my $fanout ('before', 'after') {
        for my $command (@late) {
            $t->redis(@$command);
            is($fetch->()->{status}, 404,
                "nor after a late projection, $fanout fanout");
            is($t->get($drawn->{url})->{status}, 404, 'nor is it a short way');
        }
        $t->signal('fanout', 'CONT');
        $t->outbox_empty;
    }
}

# --- a call that was begun before the terminal was signed out (A8) ---------

# Whoever has found the phone sends the head of a request, and waits with the
# body until the terminal is signed out.
{
    my $id = card();
    my $lost = $t->sign_in($anna->{phone}, $anna->{initial_password}, 'lost');
    my ($host, $port) = $t->url =~ m{//([^:/]+):(\d+)};
    my $body = '{"ttl":31536000}';

    for my $chunked (0, 1) {
        my $socket = IO::Socket::SSL->new(PeerAddr => $host,
            PeerPort => $port, SSL_ca_file => $t->ca) or die "no connection";
        my $length = length $body;

        print $socket "POST /v1/cards/$id/keys HTTP/1.1\r\nHost: $host\r\n"
            . "Authorization: Bearer $lost->{access_token}\r\n"
            . "Content-Type: application/json\r\nConnection: close\r\n"
            . ($chunked ? "Transfer-Encoding: chunked\r\n\r\n"
                : "Content-Length: $length\r\n\r\n");
        $socket->flush;
        sleep 0.3;

        my $r = $t->delete("/v1/me/terminals/$lost->{terminal_id}", undef,
            $token);
        is($r->{status}, 204, 'a terminal is signed out');

        print $socket $chunked ? sprintf("%x\r\n%s\r\n0\r\n\r\n", $length,
            $body) : $body;
        $socket->flush;
        my $answer = do { local $/; <$socket> };
        is(substr($answer, 0, 12), 'HTTP/1.1 401',
            'a call that it had begun fails');

        $lost = $t->sign_in($anna->{phone}, $anna->{initial_password}, 'lost');
    }
    is($t->psql("select count(*) from cardx.card_keys where card_id = '$id'"),
        0, 'and has done nothing');
}

# --- an answer kept for Idempotency-Key, in a stolen dump ------------------

# People take 1, 2, 3, ... for it: who tries these must not find the tokens.
{
    my $idempotency = '4711';
    my $id = card();
    my $r = $t->post("/v1/cards/$id/keys", {}, { %$token,
        'Idempotency-Key' => $idempotency });
    is($r->{status}, 201, 'an answer that is kept');
    like($r->{json}{key}, qr/^[A-Z2-7]{26}$/, 'with a key in it');

    my $again = $t->post("/v1/cards/$id/keys", {}, { %$token,
        'Idempotency-Key' => $idempotency });
    is($again->{body}, $r->{body}, 'and given again');

    # HKDF (RFC 5869) of the header's value; AES-256-GCM is CTR from 2 on
    my $seal = hmac_sha256("idempotency\x01",
        hmac_sha256($idempotency, "\0" x 32));
    my $sealed = $t->psql("select encode(sealed_answer, 'hex')
        from cardx.idempotency where scope = '$anna->{user_id}'");
    my ($nonce, $text) = $sealed =~ /^(.{24})(.*).{32}$/;

    open my $out, '>', "$t->{var}/sealed" or die "sealed: $!";
    print $out pack 'H*', $text;
    close $out;
    my $plain = CardxTest::capture('openssl', 'enc', '-d', '-aes-256-ctr',
        '-K', unpack('H*', $seal), '-iv', $nonce . '00000002', '-in',
        "$t->{var}/sealed");
    ok($plain !~ /\Q$r->{json}{key}/, 'not opened by guessing the value');
}

# --- a terminal that approved, and was signed out then (A8) ----------------

# Whoever has found the phone, with its card in it, asks for a code, approves
# on the phone itself, and waits until it is signed out.
{
    my $lost = $t->sign_in($anna->{phone}, $anna->{initial_password}, 'lost');
    $t->psql("update cardx.registrations
        set created_at = created_at - interval '2 minutes'");
    my $r = $t->post('/v1/registrations', { phone => $anna->{phone},
        method => 'sms-down' });
    my ($code) = $t->sms($anna->{phone}) =~ /(\d{6})/;
    my $verify = sub { $t->post(
        "/v1/registrations/$r->{json}{registration_id}/verify",
        { code => $code, terminal => { name => 'thief' } }) };
    is($verify->()->{json}{code}, 'account_exists', 'it must be approved');

    my $approval = $t->get('/v1/me', undef, $token)
        ->{json}{approvals}[0]{approval_id};
    my $approve = sub { $t->post("/v1/me/approvals/$approval",
        { approve => JSON::PP::true }, { token => $_[0] })->{status} };
    is($approve->($lost->{access_token}), 204, 'a terminal approves');
    is($t->delete("/v1/me/terminals/$lost->{terminal_id}", undef, $token)
        ->{status}, 204, 'and is signed out');
    is($verify->()->{json}{code}, 'account_exists', 'which ends that, too');

    is($approve->($anna->{access_token}), 204, 'another one may approve');
    is($verify->()->{status}, 200, 'and that counts');
}

# --- too much of one card in Redis -----------------------------------------

# Whoever has a card's address tries keys without end.
{
    my $id = card();
    is($t->get("/c/$id", undef, { key => key($id)->{key} })->{status}, 200,
        'a card in Redis');
    $t->redis('HSET', "cardx:card:{$id}",
        map { sprintf('k:%032x', $_), '-1' } 1 .. 3100);
    my $before = $t->redis('HLEN', "cardx:card:{$id}");
    is($t->get("/c/$id", undef, { key => ('A' x 25) . $_ })->{status}, 404,
        'a key that nobody drew') for 'A', 'E', 'I';
    is($t->redis('HLEN', "cardx:card:{$id}"), $before, 'is not remembered');
}

# An owner draws keys that all show something else of a large card.
{
    my $id = card(notes => { map { $_ => { note => $_ x 6000 } } 1 .. 9 });
    my @keys = map { key($id, fields => ['notes', "none$_"]) } 1 .. 40;

    $t->outbox_empty;
    is($t->patch("/v1/cards/$id", { name => { full => 'Anna Sato' } }, $token)
        ->{status}, 200, 'a change, in force');
    $t->outbox_empty;
    my $bytes = 0;
    $bytes += length for @{ $t->redis('HVALS', "cardx:card:{$id}") };
    cmp_ok($bytes, '<', 700_000, 'some of it is in Redis');

    is(scalar(grep { ($t->get("/c/$id", undef, { key => $_->{key} })->{json}
        || {})->{name}{full} eq 'Anna Sato' } @keys), 40, 'all of it is given');
}

# --- a name with characters that no header may have ------------------------

{
    my $id = card(name => { full => "A\x{7f}\r\nX-Evil: 1" });
    my $r = $t->get("/c/$id.vcf?k=" . key($id)->{key});
    my $header = $r->{headers}{'content-disposition'};
    ok($header !~ /[\x00-\x1f\x7f]/, 'a file\'s name has none of them')
        or diag(unpack 'H*', $header);
    ok(!$r->{headers}{'x-evil'}, 'and is no header of its own');
}

$t->finish;
done_testing;
