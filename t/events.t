#!/usr/bin/perl
# Streams of events (F9, A8) and updates that are waited for: what changes is
# told at once, once, to whom it concerns; a stream goes on where it was.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA ();
use MIME::Base64 ();
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Events;

# a socket that soon is full, and a heart that beats often
my $t = CardxTest->new(nginx_conf => [
    [ qr/ssl http2;/, 'ssl http2 sndbuf=16k;' ],
    [ qr/cardx_events on;/,
        'cardx_events on; cardx_heartbeat 1s; send_timeout 2s;' ] ])->start;

my $me = $t->register('+8613800138000');
my $other = $t->register('+8613800138001');
my $token = { token => $me->{access_token} };
my @mine = (token => $me->{access_token});
my $id = $me->{user_id};

sub stream { CardxTest::Events->open($t, @_) }
sub count { my ($n) = @_; sub { @_ >= $n } }

# A change of which only the log knows.
sub noted {
    my ($object, $whose, $op) = @_;
    $whose //= $id;
    $op //= 'put';
    $t->psql("select cardx.log_add('$whose', 'news', '$object', '$op')");
}

# --- a stream ----------------------------------------------------------------

my $s = stream(@mine);
is($s->{status}, 200, 'a stream');
like($s->{head}, qr{^content-type: text/event-stream\r?$}im, 'of its type');
like($s->{head}, qr/^cache-control: no-store\r?$/im, 'kept by nobody');
$s->wait_for(sub { $s->{id} });
like($s->{id}, qr/^[0-9a-f]{16}\.\d+$/, 'says at once where it is');
like($s->{retry}, qr/^[1-4]\d\d\d$/, 'and when to come back');
is($t->get("/v1/updates?since=$s->{id}", undef, $token)->{status}, 204,
    'its ids are tokens');

my $start = $s->{id};
my $began = time;
my $card = $t->card($token, name => { full => 'Anna' });
$s->wait_for(count(2));
is($s->shown, "account:put:$id card:put:$card", 'a change, as it happens');
cmp_ok(time - $began, '<', 5, 'and not only when asked for');
noted($_) for qw(a b c);

# what changes again before it was told is told once
$s->wait_for(count(5));
noted('b', undef, 'delete');
$s->wait_for(count(6));
is($s->shown, "account:put:$id card:put:$card news:put:a news:put:b "
    . 'news:put:c news:delete:b', 'one after the other');
my @ids = map { $_->{id} } $s->changes;
is(scalar(keys %{ { map { $_ => 1 } @ids } }), 6, 'each with an id of its own');

my $t2 = stream(token => $other->{access_token});
$t2->wait_for(sub { $t2->{id} });
noted('theirs', $other->{user_id});
$t2->wait_for(count(1));
is($t2->shown, 'news:put:theirs', 'another user has another stream');
noted('mine');
$s->wait_for(count(7));
$t2->wait_for(sub { 0 }, 0.5);
is($t2->shown, 'news:put:theirs', 'and hears nothing of this one');
unlike($s->shown, qr/theirs/, 'nor this one of that');

$t->psql("select cardx.log_add('$id', 'share', 's' || i, 'put')
    from generate_series(1, 5) i");
$s->wait_for(count(12));
is(($s->changes)[-1]{json}{id}, 's5', 'several of one transaction');
$t->psql("select cardx.log_add('$id', 'share', 's' || i, 'put')
    from generate_series(1, 260) i");
$s->wait_for(count(272));
is(scalar(() = $s->changes), 272, 'many of one transaction');

# --- again from where one was ------------------------------------------------

sub resumed {
    my ($last, $n) = @_;
    my $again = stream(@mine, last => $last);
    $again->wait_for(count($n)) if $n;
    $again->wait_for(sub { $again->{id} });
    my $shown = $again->shown;
    $again->close;
    return $shown;
}

my $newest = ($s->changes)[-1]{id};
is(resumed($newest, 0), '', 'from the last one: nothing');
is(resumed($ids[4], 265), join(' ', 'news:delete:b', 'news:put:mine',
    map { "share:put:s$_" } sort map { "$_" } 1 .. 260),
    'from an earlier one: what came after it, as it is now');
is(scalar(split / /, resumed($start, 266)), 266, 'from the start: everything');
my $middle = ($s->changes)[8]{id};
like($middle, qr/\.share\.s\d$/, 'from within a transaction');
is(scalar(split / /, resumed($middle, 260)), 260, 'the rest of it');

for my $bad ('x', '0', '-1', 'a' x 4000, "'; drop table cardx.users", '%00',
    '0123456789abcdef.1', substr($newest, 0, 17) . '99999999999',
    "$newest.news", "$newest&ticket=x", '../../etc', "\x{e9}\x{ff}",
    substr($newest, 0, 17) . '1.all.card.x') {
    my $hostile = stream(@mine, last => $bad);
    is($hostile->{status}, 200, 'Last-Event-ID: ' . substr $bad =~
        s/[^ -~]/?/gr, 0, 30);
    $hostile->wait_for(count(1), 3);
    is(($hostile->{events}[0] || {})->{event}, 'reset', 'starts afresh')
        unless $bad =~ /\.all\./;
    $hostile->close;
}
my $anew = stream(@mine, last => 'x');
$anew->wait_for(count(1));
noted('after');
$anew->wait_for(count(2));
is($anew->shown, 'news:put:after', 'and goes on from now');
$anew->close;
$s->wait_for(count(273));

# --- a ticket ----------------------------------------------------------------

# but for what caches acknowledge, and the name of the dump
sub stored {
    return CardxTest::capture('pg_dump', '-h', $t->var . '/pgrun', '-U',
        'postgres', '--data-only', 'cardx') =~ s/^\\(?:un)?restrict .*//gmr
        . join ' ', grep { !/:ack:/ } sort @{ $t->redis('KEYS', '*') };
}
my $stored = stored();
my $ticket = $t->post('/v1/events/ticket', undef, $token)->{json}{ticket};
ok(stored() eq $stored, 'a ticket is stored nowhere');
my $ticketed = stream(ticket => $ticket);
is($ticketed->{status}, 200, 'a ticket opens a stream');
$ticketed->wait_for(sub { $ticketed->{id} });
noted('ticketed');
$ticketed->wait_for(count(1));
is($ticketed->shown, 'news:put:ticketed', 'of its user');
my $reused = stream(ticket => $ticket, last => $ticketed->{id});
is($reused->{status}, 200, 'again and again');
$reused->close;

for my $bad ('', 'x', $ticket =~ s/.$/!/r, 'a' x 76, $me->{access_token},
    substr($ticket, 0, 40) . ('A' x 36)) {
    is(stream(ticket => $bad)->{status}, 401, 'no ticket: '
        . (substr($bad, 0, 5) || 'none'));
}
is($t->get('/v1/me', undef, { token => $ticket })->{status}, 401,
    'a ticket is no token');
is(stream()->{status}, 401, 'nobody has no stream');
is(stream(token => 'x')->{status}, 401, 'nor has a stranger');
is($t->post('/v1/events', {}, $token)->{status}, 405, 'it can only be read');
is($t->head('/v1/events', undef, $token)->{status}, 200, 'or asked for');
is($t->get('/-/changes', undef, $token)->{status}, 404,
    "what the edge asks is nobody else's");

# --- beats -------------------------------------------------------------------

my $beats = $s->{comments};
ok($s->wait_for(sub { $s->{comments} > $beats + 1 }, 10), 'it beats');

# --- updates that are waited for ---------------------------------------------

sub wait_for_updates {
    my ($since, $seconds) = @_;
    my $began = time;
    my $r = $t->get("/v1/updates?since=$since&wait=$seconds", undef, $token);
    return ($r, time - $began);
}

my $since = $t->get('/v1/updates', undef, $token)->{json};
while ($since->{more}) {
    $since = $t->get("/v1/updates?since=$since->{token}", undef, $token)
        ->{json};
}
$since = $since->{token};
my ($u, $took) = wait_for_updates($since, 1);
is($u->{status}, 204, 'a wait for nothing');
cmp_ok($took, '>', 0.9, 'takes its time');
($u, $took) = wait_for_updates($start, 50);
is($u->{status}, 200, 'nobody waits for what is there');
cmp_ok($took, '<', 10, 'it is given at once');

my ($waited) = $t->at_once(
    sub {
        my ($r, $took) = wait_for_updates($since, 50);
        return "$r->{status} " . join(' ',
            map { $_->{id} } @{ $r->{json}{changes} || [] })
            . ($took < 30 ? '' : ' late');
    },
    sub { sleep 0.5; noted('waited'); return '' });
is($waited, '200 waited', 'who waits is told as soon as there is something');
$since = (wait_for_updates($since, 0))[0]{json}{token};
is((wait_for_updates($since, 0))[0]{status}, 204, 'once');

# a client that goes away while it waits
{
    my ($host, $port) = $t->url =~ m{^https://([^:/]+):(\d+)};
    my $gone = IO::Socket::SSL->new(PeerAddr => $host, PeerPort => $port,
        SSL_ca_file => $t->ca);
    print $gone "GET /v1/updates?since=$since&wait=50 HTTP/1.1\r\n"
        . "Host: $host\r\nAuthorization: Bearer $me->{access_token}\r\n\r\n";
    sleep 0.2;
    $gone->close(SSL_no_shutdown => 1);
    noted('for nobody');
}

# --- the end -----------------------------------------------------------------

my $slow = stream(@mine, rcvbuf => 4096);
$slow->wait_for(sub { $slow->{id} });
my $behind = $slow->{id};

# how much of it is told in one go is fanout's business: until it is too much
my $let_go;
for (1 .. 6) {
    $t->psql("do \$\$ begin for i in 1 .. 2500 loop
        perform cardx.log_add('$id', 'exchange', 'x' || i % 700, 'put');
        commit; end loop; end \$\$");
    $let_go = $t->wait_for(sub { $t->read_log('nginx-error.log')
        =~ /too slow|timed out/ || $slow->wait_end(0.2) }, 5);
    last if $let_go;
}
ok($let_go, 'who does not read is let go');
$slow->wait_end(10);
ok(!$slow->{complete}, 'in the midst');
$slow->close;
my $caught = stream(@mine, last => $behind);
my %all;
$caught->wait_for(sub { $all{ $_->{json}{id} } = 1 for @_; keys %all == 700 },
    20);
is(scalar keys %all, 700, 'and can go on from where it was');
$caught->close;

my $second = $t->sign_in('+8613800138000', $me->{initial_password});
my $doomed = stream(token => $second->{access_token});
$doomed->wait_for(sub { $doomed->{id} });
my $its_ticket = $t->post('/v1/events/ticket', undef,
    { token => $second->{access_token} })->{json}{ticket};
my $doomed_too = stream(ticket => $its_ticket);
my $spared = stream(@mine);
$spared->wait_for(sub { $spared->{id} });
is($t->delete("/v1/me/terminals/$second->{terminal_id}", undef, $token)
    ->{status}, 204, 'a terminal is signed out');
$began = time;
ok($doomed->wait_end(5), 'its stream ends');
ok($doomed_too->wait_end(5), 'and that of its ticket');
cmp_ok(time - $began, '<', 2, 'at once');
ok($doomed->{complete}, 'properly');
is(stream(token => $second->{access_token})->{status}, 401,
    'and does not come back');
is(stream(ticket => $its_ticket)->{status}, 401, 'in no way');
$spared->wait_for(sub { $spared->shown =~ /terminal:delete/ });
like($spared->shown, qr/terminal:delete:$second->{terminal_id}/,
    'another terminal hears of it, and stays');
$spared->close;

# a token that has its time: as Redis and PostgreSQL have it
my $third = $t->sign_in('+8613800138000', $me->{initial_password});
$t->psql("update cardx.access_tokens set expires_at = now() + interval '3 s'
    where terminal_id = $third->{terminal_id}");
my ($name) = grep { $t->redis('TTL', $_) > 0 } @{ $t->redis('KEYS',
    "cardx:token:{$id}:" . substr(Digest::SHA::sha256_hex(
        MIME::Base64::decode_base64url($third->{access_token})), 0, 32)) };
$t->redis('SET', $name, int(time) + 3, 'KEEPTTL');
my $short = stream(token => $third->{access_token});
is($short->{status}, 200, 'a token that is soon over');
$began = time;
ok($short->wait_end(15), 'ends its stream');
cmp_ok(time - $began, '<', 10, 'when it is');
ok($short->{complete}, 'properly');
is(stream(token => $third->{access_token})->{status}, 401, 'for good');

$_->close for $s, $t2, $ticketed;
my $metrics = $t->ops('GET', '/metrics')->{body};
like($metrics, qr/^cardx_edge_streams_total [1-9]\d/m, 'streams are counted');

$t->finish;
done_testing;
