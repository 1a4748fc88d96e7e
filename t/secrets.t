#!/usr/bin/perl

# Plants keys, tokens, passwords and what else nobody may find, uses them in
# right and in wrong ways, and looks for them in everything that is kept:
# PostgreSQL's dump and files, all of Redis, logs, caches, and what the
# system shows of the processes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Find ();
use MIME::Base64 qw(decode_base64url encode_base64 encode_base64url);
use Test::More;

use CardxTest;

my $began = time - 1;
my $t = CardxTest->new->start;
my $me = $t->register('+8613800138000');
my $other = $t->register('+8613800138001');
my %auth = (token => $me->{access_token});
my %secret;     # what: text

$secret{"access token $_->[0]"} = $_->[1]{access_token}
    for ['one', $me], ['two', $other];
$secret{"refresh token $_->[0]"} = $_->[1]{refresh_token}
    for ['one', $me], ['two', $other];
$secret{'initial password'} = $other->{initial_password};
$secret{'first password'} = $me->{initial_password};
$secret{'own password'} = 'Pl4nted-pass-word';
$secret{'idempotency key'} = 'pl4nted-idempotency-0123';
for ($t->all_sms($me->{phone}), $t->all_sms($other->{phone})) {
    $secret{"SMS $1"} = $_ if /(\d{6})/;
}

# --- planted, as it should be ----------------------------------------------

is($t->post('/v1/me/password', { old => $secret{'first password'},
    new => $secret{'own password'} }, { %auth })->{status}, 204, 'a password');
my $session = $t->sign_in($me->{phone}, $secret{'own password'});
my $r = $t->post('/v1/sessions/refresh',
    { refresh_token => $session->{refresh_token} });
is($r->{status}, 200, 'refreshed');
$secret{'third access token'} = $session->{access_token};
$secret{'third refresh token'} = $session->{refresh_token};
$secret{'successor'} = $r->{json}{refresh_token};

my $card = $t->post('/v1/cards', { name => { full => 'Canary Found' } },
    { %auth, 'Idempotency-Key' => $secret{'idempotency key'} })
    ->{json}{card_id};
my $jpeg = do { local (@ARGV, $/) = "$CardxTest::ROOT/docs/pictures/anna.jpg"; <> };
$t->put("/v1/cards/$card/media/photo", $jpeg,
    { %auth, 'Content-Type' => 'image/jpeg' });
my $drawn = $t->post("/v1/cards/$card/keys", { ttl => 3600 },
    { %auth, 'Idempotency-Key' => $secret{'idempotency key'} . 'x' })->{json};
my $few = $t->post("/v1/cards/$card/keys", { ttl => 3600,
    fields => ['photo'] }, { %auth })->{json};
$secret{'key'} = $drawn->{key};
$secret{'key to some fields'} = $few->{key};
my @keys = ($drawn->{key}, $few->{key});

for my $key (@keys) {
    is($t->get("/c/$card", undef, { key => $key })->{status}, 200, 'card');
    $t->get("/c/$card.vcf?k=$key");
    $t->get("/c/$card?k=$key", undef, { Accept => 'text/html' });
    is($t->get("/c/$card/photo?k=$key")->{status}, 200, 'photo');
    is($t->get("/q/$key")->{status}, 302, 'code');
    $t->get('/Q/' . lc $key);
}

# Numbers of others, in what a holder writes, edits, imports, looks for and
# takes along.
my %contact = (own => { '@type' => 'Card', version => '1.0',
    name => { full => 'Pl4nted Friend' },
    phones => { p => { number => '+46709182736' } } },
    note => 'pl4nted note of a holder', tags => ['pl4nted-tag']);
$r = $t->post('/v1/contacts', \%contact, { %auth });
is($r->{status}, 201, 'a contact') or diag($r->{body});
my $contact = "/v1/contacts/$r->{json}{contact_id}";
is($t->patch($contact, { own => { nicknames => { n => { name =>
    'Pl4nted Nickname' } } } }, { %auth })->{status}, 200, 'edited');
is($t->put("$contact/media/photo", $jpeg, { %auth,
    'Content-Type' => 'image/jpeg' })->{status}, 201, 'with a photo');
is($t->post('/v1/contacts/import', "BEGIN:VCARD\nVERSION:3.0\n"
    . "FN:Pl4nted Import\nTEL:+46709182737\nEND:VCARD\n", { %auth,
    'Content-Type' => 'text/vcard' })->{json}{added}, 1, 'one is imported');
is(scalar @{ $t->get("/v1/contacts?q=$_", undef, { %auth })->{json}{items} },
    1, 'found') for '46709182736', 'Pl4nted+Import';
like($t->get("/v1/$_", undef, { %auth })->{body}, qr/46709182736/, $_)
    for 'contacts/export', 'contacts/export?format=json', 'me/export';
is($t->post("$contact/merge", { with => $t->get('/v1/contacts?q=Import', undef,
    { %auth })->{json}{items}[0]{contact_id} }, { %auth })->{status}, 200,
    'joined');
is($t->delete($contact, undef, { %auth })->{status}, 204, 'deleted');
$secret{'number of another'} = '46709182736';
$secret{'number, national'} = '709182736';
$secret{'number, imported'} = '46709182737';
$secret{'name'} = $contact{own}{name}{full};
$secret{'nickname'} = 'Pl4nted Nickname';
$secret{'name, imported'} = 'Pl4nted Import';
$secret{'note'} = $contact{note};
$secret{'tag'} = $contact{tags}[0];

# --- and where it does not belong ------------------------------------------

sub misuse {
    for my $key (@keys) {
        my $address = "https://127.0.0.1:$t->{port}/c/$card?k=$key";
        my %from = (Referer => $address);
        for my $path ("/?k=$key", "/static/?k=$key", "/static/none?k=$key",
            "/static/%2e%2e/q/$key", "//q/$key", "/v1/me?k=$key",
            "/v1/cards/$card?k=$key", "/t/$key", "/c/$key", "/x/../q/$key",
            "/c/$card/none?k=$key", "/v1/$key", "/healthz?k=$key",
            "/c/%zz?k=$key", "/q/$key/", "/%71/$key") {
            $t->get($path, undef, { %from });
        }
        $t->post("/v1/registrations?k=$key", 'x' x 1_200_000, { %from,
            'Content-Type' => 'application/json' });
        $t->post("/q/$key", '{}', { %from });
        $t->put("/static/card.css?k=$key", 'x' x 1_200_000, { %from });
        $t->put("/v1/cards/$card/media/photo?k=$key", 'x' x 22_000_000,
            { %from, %auth });
        $t->get("/c/$card/photo?k=$key", undef, { %from,
            Range => 'bytes=99999999-' });
        $t->get('/c/' . 'x' x 40_000 . "?k=$key", undef, { %from });
        $t->get("/c/$card?k=$key", undef, { %from, Cookie => 'x' x 40_000 });
        $t->ops('GET', "/sms/in?secret=wrong&text=$key&from=1&to=2");
        $t->ops('GET', "/none?k=$key", undef, { %from });
    }
    $t->get("/v1/me?access_token=$secret{'access token one'}");
    $t->post('/v1/sessions/refresh',
        { refresh_token => $secret{'access token two'} });
    $t->post('/v1/sessions', { phone => $me->{phone},
        password => $secret{'initial password'}, terminal => { name => 'x' } });
}
misuse();

# Also while nobody is there to answer, which nginx logs each time.
$t->signal('cardxd', 'TERM');
ok($t->wait_for(sub { !$t->alive('cardxd') }, 30), 'workers have gone');
misuse();
like($t->read_log('nginx-error.log'), qr/connect\(\) to unix:/,
    'nginx has complained');
$t->start;

# --- what is kept ----------------------------------------------------------

# In which ways a secret might stand somewhere: as it is, in hex, in base64
# at each alignment; and the bytes that a key or a token stands for.
sub forms {
    my ($text) = @_;
    my @forms = ($text);
    push @forms, lc $text, uc $text if $text =~ /^[A-Z2-7]{26}$/;
    my @bytes = ($text);
    if ($text =~ /^[A-Z2-7]{26}$/) {
        my $bits = join '', map { sprintf '%05b',
            index 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', $_ } split //, $text;
        push @bytes, pack 'B128', $bits;
    } elsif ($text =~ /^[\w-]{76}$/) {
        # without its user, terminal and tag
        push @bytes, substr decode_base64url($text), 20, 32;
    }
    for my $bytes (@bytes) {
        push @forms, $bytes if length $bytes >= 8;
        push @forms, unpack('H*', $bytes), uc unpack('H*', $bytes);
        next if length $bytes < 12;
        for my $before (0 .. 2) {
            my $start = (3 - $before) % 3;
            my $part = substr $bytes, $start;
            $part = substr $part, 0, length($part) - length($part) % 3;
            push @forms, encode_base64($part, ''), encode_base64url($part);
        }
    }
    return grep { length >= 8 } @forms;
}

my %what;
for my $name (sort keys %secret) {
    utf8::encode(my $text = $secret{$name});
    $what{$_} = $name for forms($text);
}
cmp_ok(scalar keys %what, '>', 100, 'much to look for');
my $all = join '|', map { quotemeta } keys %what;
my $pattern = qr/($all)/;

my %found;      # where: what
my $looked = 0;

sub look {
    my ($where, $text) = @_;
    $looked += length $text;
    $found{$where}{ $what{$1} } = 1 while $text =~ /$pattern/g;
}

sub slurp {
    my ($path) = @_;
    open my $in, '<:raw', $path or return '';
    local $/;
    return scalar <$in> // '';
}

my $var = $t->var;
my $dump = CardxTest::capture('pg_dump', '-h', "$var/pgrun", '-U', 'postgres',
    'cardx');
is($?, 0, 'a dump of PostgreSQL');
like($dump, qr/Canary Found/, 'with what is stored');
look('pg_dump', $dump);

$t->psql('checkpoint');
my $canary = 0;
File::Find::find({ no_chdir => 1, wanted => sub {
    # what the template brought is older
    return if !-f $_ || (stat _)[9] < $began;
    my $bytes = slurp($_);
    $canary++ if $bytes =~ /Canary Found/;
    look("PostgreSQL's $_", $bytes);
} }, "$var/pg");
cmp_ok($canary, '>', 0, 'the files of PostgreSQL are readable');

ok($t->wait_for(sub { $t->redis('EXISTS', "cardx:card:{$card}") }, 20),
    'Redis has the card');
$t->get("/c/$card", undef, { key => $_ }) for @keys;
my ($cursor, $redis) = (0, '');
do {
    my $page = $t->redis('SCAN', $cursor, 'COUNT', 1000);
    $cursor = $page->[0];
    for my $name (@{ $page->[1] }) {
        my $type = $t->redis('TYPE', $name);
        my $value = $type eq 'hash' ? join "\n", @{ $t->redis('HGETALL', $name) }
            : $type eq 'string' ? $t->redis('GET', $name) : '';
        $redis .= "$name\n$value\n";
    }
} while $cursor;
like($redis, qr/Canary Found/, 'all of Redis');
look('Redis', $redis);
$t->redis('CONFIG', 'SET', 'rdbcompression', 'no');
$t->redis('SAVE');
my $saved = slurp("$var/redis/dump.rdb");
like($saved, qr/Canary Found/, "Redis' dump");
look("Redis' dump", $saved);

my $logs = 0;
for my $folder (qw(log cache tmp run pids conf redis)) {
    File::Find::find({ no_chdir => 1, wanted => sub {
        return if !-f $_;
        my $bytes = slurp($_);
        $logs++ if length $bytes && $folder eq 'log';
        look($_, $bytes);
    } }, "$var/$folder");
}
cmp_ok($logs, '>', 3, 'logs were there');
like($t->read_log('nginx-access.log'), qr{"GET /q/- }, 'with requests');

my $processes = 0;
for my $file (glob "$var/pids/*.pid") {
    my ($pid) = slurp($file) =~ /^(\d+)/ or next;
    for my $name (qw(environ cmdline)) {
        my $bytes = slurp("/proc/$pid/$name");
        $processes++ if length $bytes;
        look("$name of $file", $bytes);
    }
}
cmp_ok($processes, '>', 8, 'processes were looked at');

is(join("\n", map { my $where = $_; map { "$where: $_" }
    sort keys %{ $found{$where} } } sort keys %found), '', 'nothing is found');
cmp_ok($looked, '>', 1_000_000, "in $looked bytes");

# it would be, if it were there
my $some = $keys[0];
for (["GET /q/$some HTTP", 'as it is'], [unpack('H*', "x$some"), 'in hex'],
    [encode_base64("yy$some", ''), 'in base64']) {
    look('the test', $_->[0]);
    is(join(' ', keys %{ delete $found{'the test'} || {} }), 'key',
        "found $_->[1]");
}

$t->finish;
done_testing;
