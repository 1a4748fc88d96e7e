#!/usr/bin/perl

# What may not be told apart looks alike: a wrong key of a card, a key of a
# card that is not there, a deleted card, a revoked key.  The same body, the
# same headers, and within the noise the same time, at the edge and through a
# worker.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(hmac_sha256);
use List::Util qw(shuffle);
use MIME::Base64 qw(encode_base64url);
use Test::More;
use Time::HiRes qw(time);

use CardxTest;

my $PAIRS = 40;
my $TRIES = 6;

my $t = CardxTest->new->start;
my $me = $t->register('+8613800138000');
my %auth = (token => $me->{access_token});

sub new_card {
    my $r = $t->post('/v1/cards', { name => { full => 'Anna' },
        notes => { n => { note => 'x' x 2000 } } }, { %auth });
    my $id = $r->{json}{card_id} // die $r->{body};
    my $key = $t->post("/v1/cards/$id/keys", { ttl => 3600 }, { %auth })->{json};
    return ($id, $key);
}

open my $in, '<', $t->var . '/secrets/id_key' or die "id_key: $!";
chomp(my $hex = <$in>);
my $id_key = pack 'H*', $hex;

sub random_bytes {
    open my $fh, '<:raw', '/dev/urandom' or die $!;
    read $fh, my $bytes, $_[0];
    return $bytes;
}

# As only somebody can make it who has the id key.
sub no_card {
    my $raw = random_bytes(16);
    return encode_base64url($raw . substr(hmac_sha256("c$raw", $id_key), 0, 5));
}

sub random_key {
    my $bits = unpack 'B*', random_bytes(16);
    my @alphabet = ('A' .. 'Z', 2 .. 7);
    return join '', map { $alphabet[oct "0b$_"] } "${bits}00" =~ /(.{5})/g;
}

my ($card) = new_card();
my ($deleted, $its_key) = new_card();
$t->delete("/v1/cards/$deleted", undef, { %auth });
my ($other, $revoked) = new_card();
$t->delete("/v1/cards/$other/keys/$revoked->{key_id}", undef, { %auth });
is($t->get("/c/$other?k=$revoked->{key}")->{status}, 404, 'revoked');
is($t->get("/c/$deleted?k=$its_key->{key}")->{status}, 404, 'deleted');

# --- to the letter ---------------------------------------------------------

sub face {
    my ($path, %headers) = @_;
    my $r = $t->get($path, undef, \%headers);
    delete $r->{headers}{date};
    return join "\n", $r->{status}, (map { "$_: $r->{headers}{$_}" }
        sort keys %{ $r->{headers} }), '', $r->{body};
}

for my $accept ('*/*', 'text/html', 'text/vcard') {
    my $face = face("/c/$card?k=" . random_key(), Accept => $accept);
    like($face, qr/^404\n/, "$accept: refused");
    for my $other (
        ['no such card', '/c/' . no_card() . '?k=' . random_key()],
        ['deleted', "/c/$deleted?k=$its_key->{key}"],
        ['revoked', "/c/$other?k=$revoked->{key}"],
        ['wrong id', '/c/' . 'A' x 28 . '?k=' . random_key()],
        ['no key', "/c/$card"],
        ['half a key', "/c/$card?k=ABC"],
        ['key of a wrong alphabet', "/c/$card?k=" . '1' x 26],
        ['cut off', '/c/' . substr($card, 0, 20)],
        ['nothing', '/c/'],
        ['too much', "/c/$card/photo/x"],
        ['short code', '/q/xx'],
        ['code of a wrong alphabet', '/q/' . '1' x 26],
        ['code with a path', '/Q/x/y'],
        ['photo', "/c/$card/photo?k=" . random_key()],
    ) {
        my ($what, $path) = @$other;
        is(face($path, Accept => $accept), $face, "$accept: $what");
    }
}

# --- in time ---------------------------------------------------------------

sub quantile {
    my ($q, @sorted) = @_;
    return $sorted[int($q * $#sorted)];
}

# Whether two kinds of requests, asked in turns, take the same time: what the
# fastest fifth takes differs by less than the fastest half is wide.  (What is
# slower is the machine's doing.)
sub alike {
    my ($one, $two) = @_;
    my @times = ([], []);
    for my $kind (map { shuffle(0, 1) } 1 .. $PAIRS) {
        my ($path, $headers) = (($one, $two)[$kind])->();
        my $start = time;
        my $r = $t->get($path, undef, $headers);
        push @{ $times[$kind] }, time - $start;
        die "$path: $r->{status}" if $r->{status} != 404;
    }
    my ($first, $second) = map { [ sort { $a <=> $b } @$_ ] } @times;
    my $difference = abs quantile(0.2, @$first) - quantile(0.2, @$second);
    my ($wide) = sort { $b <=> $a }
        map { quantile(0.5, @$_) - quantile(0.05, @$_) } $first, $second;
    return '' if $difference <= $wide + 20e-6;
    return sprintf '%.0f and %.0f us, spread %.0f us',
        1e6 * quantile(0.2, @$first), 1e6 * quantile(0.2, @$second),
        1e6 * $wide;
}

# Once in several tries is enough; what differs really does so each time.
sub differ {
    my $said;
    for (1 .. $TRIES) {
        $said = alike(@_);
        last if $said eq '';
    }
    return $said;
}

my ($wrong_key, $absent) = (random_key(), no_card());
my $edge_wrong = sub { ("/c/$card?k=$wrong_key") };
my $edge_absent = sub { ("/c/$absent?k=$wrong_key") };
my $edge_deleted = sub { ("/c/$deleted?k=$its_key->{key}") };
my $edge_revoked = sub { ("/c/$other?k=$revoked->{key}") };
my $miss_wrong = sub { ("/c/$card?k=" . random_key()) };
my $miss_absent = sub { ('/c/' . no_card() . '?k=' . random_key()) };
my $page_wrong = sub { ("/c/$card?k=" . random_key(), { Accept => 'text/html' }) };
my $page_absent = sub {
    ('/c/' . no_card() . '?k=' . random_key(), { Accept => 'text/html' }) };

is(differ($edge_wrong, $edge_absent), '', 'edge: wrong key, no such card');
is(differ($edge_wrong, $edge_deleted), '', 'edge: wrong key, deleted card');
is(differ($edge_wrong, $edge_revoked), '', 'edge: wrong key, revoked key');
is(differ($miss_wrong, $miss_absent), '', 'worker: wrong key, no such card');
is(differ($page_wrong, $page_absent), '', 'page: wrong key, no such card');
is(differ(sub { ('/q/' . random_key()) }, sub { ('/q/' . random_key()) }), '',
    'codes');

# the measure can tell things apart, or it would say nothing
my @told = grep { $_ ne '' } map { alike($edge_wrong, $miss_wrong) } 1 .. $TRIES;
cmp_ok(scalar @told, '>', 0, "an edge is faster than a worker: @told");

# what was remembered of a card that is not there is forgotten again
ok($t->wait_for(sub { !$t->redis('EXISTS', "cardx:card:{$absent}") }, 20),
    'nothing is kept of it');
ok($t->redis('EXISTS', "cardx:card:{$card}"), 'unlike of a card');
is($t->redis('TTL', "cardx:card:{$card}"), -1, 'which does not expire');

$t->finish;
done_testing;
