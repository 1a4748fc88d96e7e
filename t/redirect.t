#!/usr/bin/perl
# /q/{key}, which a code shows: where it leads, by the edge and by a worker,
# and how often it was scanned.

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use Time::HiRes qw(sleep);

my $t = CardxTest->new->start;
my $anna = { token => $t->register('+8613800007001')->{access_token} };
my $id = $t->card($anna, name => { full => 'Anna Ito' });
my $path = "/v1/cards/$id/keys";

sub draw { $t->key($anna, $id, @_) }

sub name_of {
    my $hash = $t->psql("select encode(key_hash, 'hex') from cardx.card_keys
        where key_id = '$_[0]{key_id}'");
    return 'cardx:q:' . substr $hash, 0, 32;
}

sub scans {
    my ($key) = @_;
    my ($entry) = grep { $_->{key_id} eq $key->{key_id} }
        @{ $t->get($path, undef, $anna)->{json}{items} };
    return $entry->{scans};
}

sub seen {
    my ($r) = @_;
    return join "\n", $r->{status}, (map { $r->{headers}{$_} // '-' }
        qw(location cache-control referrer-policy content-type)),
        $r->{body} // '';
}

# --- where it leads --------------------------------------------------------

my $key = draw();
my $name = name_of($key);
my $edge = $t->get($key->{url});
is($edge->{status}, 302, 'a code leads somewhere');
is($edge->{headers}{location}, $key->{link}, 'to the card, with the key');
is($edge->{headers}{'cache-control'}, 'no-store', 'no-store');
is($edge->{headers}{'referrer-policy'}, 'no-referrer', 'no-referrer');

$t->redis('DEL', $name);
is(seen($t->get($key->{url})), seen($edge), 'the same from a worker');
like($t->redis('GET', $name), qr/^\d+ \Q$id\E$/, 'who tells the edge');
is(seen($t->get($key->{url})), seen($edge), 'and so again');

for my $url ('/Q/' . $key->{key}, '/q/' . lc $key->{key}) {
    is($t->get($url)->{headers}{location}, $key->{link}, "$url: the edge");
    $t->redis('DEL', $name);
    is($t->get($url)->{headers}{location}, $key->{link}, "$url: a worker");
}

# --- how often -------------------------------------------------------------

$key = draw();
$name = name_of($key);
is(scans($key), 0, 'not scanned yet');
$t->get($key->{url}) for 1 .. 3;
$t->head($key->{url});
$t->redis('DEL', $name);
$t->get($key->{url});
$t->redis('DEL', $name);
$t->head($key->{url});
ok($t->wait_for(sub { scans($key) >= 4 }), 'scans are counted');
sleep 0.6;
is(scans($key), 4, 'by edge and worker, once each, and looking is none');
$t->get($key->{link}) for 1 .. 2;
is(scans($key), 4, 'nor is the card itself');

# --- refused ---------------------------------------------------------------

my $revoked = draw();
$t->delete("$path/$revoked->{key_id}", undef, $anna);
my $expired = draw();
$t->psql("update cardx.card_keys set drawn_at = now() - interval '2 hours',
    expires_at = now() - interval '1 s'
    where key_id = '$expired->{key_id}'");
$t->redis('DEL', name_of($expired));
my $none = seen($t->get('/q/' . 'A' x 26));
like($none, qr/^404\n.*"code":"key_refused"}$/s, 'an unknown code');

for my $case (['revoked', $revoked], ['expired', $expired]) {
    my ($what, $k) = @$case;
    is(seen($t->get($k->{url})), $none, "$what: the same refusal");
    $t->redis('DEL', name_of($k));
    is(seen($t->get($k->{url})), $none, "$what: from a worker too");
    is(scans($k), 0, "$what: no scan");
}
for my $code ('', 'x', 'A' x 25, 'A' x 27, '1' x 26, 'A' x 25 . 'B') {
    is(seen($t->get("/q/$code")), $none, "/q/$code: refused");
}
my $r = $t->get('/q/' . 'A' x 26, undef, { Accept => 'text/html' });
is($r->{status}, 404, 'a browser');
like($r->{body}, qr/^<!DOCTYPE html>.*Ask the person/s, 'is told in a page');

my $dead = $t->card($anna, name => { full => 'Gone' });
$key = $t->key($anna, $dead);
is($t->get($key->{url})->{status}, 302, 'a card');
$t->delete("/v1/cards/$dead", undef, $anna);
ok($t->wait_for(sub { $t->get($key->{url})->{status} == 404 }),
    'when it is gone, its code leads nowhere');

# --- Redis away ------------------------------------------------------------

$key = draw();
$t->signal('redis', 'STOP');
is($t->get($key->{url})->{headers}{location}, $key->{link}, 'without Redis');
is($t->get($revoked->{url})->{status}, 404, 'and refused who must be');
$t->thaw_redis;

# --- who has a camera gets a page, also for a no -----------------------------

my $gone = draw();
is($t->delete("$path/$gone->{key_id}", undef, $anna)->{status}, 204,
    'a code is taken back');
for my $how ('the edge', 'a worker') {
    my $json = $t->get($gone->{url});
    is($json->{json}{code}, 'key_refused', "$how: JSON says no");
    my $page = $t->get($gone->{url}, undef, { Accept => 'text/html' });
    is($page->{status}, 404, "$how: so does a page");
    like($page->{headers}{'content-type'}, qr{^text/html}, "$how: as HTML");
    $t->redis('DEL', name_of($gone));
}

$t->finish;
done_testing;
