#!/usr/bin/perl
# Updates (D6): what changed since a token, once, in pages, with objects; what
# commits late is not skipped; a token of another database is refused.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Handle ();
use IPC::Open2 qw(open2);
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;

my $t = CardxTest->new->start;
my $me = $t->register('+8613800138000');
my $other = $t->register('+8613800138001');
my $token = { token => $me->{access_token} };

sub updates {
    my ($since, $more, $whose) = @_;
    my $query = join '&', defined $since ? "since=$since" : (), $more // ();
    return $t->get("/v1/updates?$query", undef, $whose // $token);
}

# Everything from a token on: the changes, and the token after them.
sub all_since {
    my ($since, $more, $whose) = @_;
    my @changes;
    while (1) {
        my $r = updates($since, $more, $whose);
        return (\@changes, $since) if $r->{status} == 204;
        die "updates: $r->{status} $r->{body}" if $r->{status} != 200;
        push @changes, @{ $r->{json}{changes} };
        $since = $r->{json}{token};
        return (\@changes, $since) unless $r->{json}{more};
    }
}

sub shown { join ' ', sort map { "$_->{kind}:$_->{op}:$_->{id}" } @{ $_[0] } }

sub card { $t->card($token, name => { full => $_[0] }) }

# A session of psql that can leave a transaction open.
sub session {
    my $pid = open2(my $out, my $in, 'psql', '-XAtq', '-h', "$t->{var}/pgrun",
        '-U', 'postgres', '-d', 'cardx');
    $in->autoflush(1);
    return { pid => $pid, in => $in, out => $out };
}

sub says {
    my ($session, $sql) = @_;
    print { $session->{in} } "$sql;\nselect 'done';\n";
    my @lines;
    while (my $line = readline $session->{out}) {
        chomp $line;
        return @lines if $line eq 'done';
        push @lines, $line;
    }
    die 'psql has gone';
}

sub ended {
    my ($session) = @_;
    close $session->{in};
    waitpid $session->{pid}, 0;
}

# --- everything, and then only what is new -----------------------------------

my ($changes, $since) = all_since();
is(shown($changes),
    "account:put:$me->{user_id} terminal:put:$me->{terminal_id}",
    'without a token: everything that is there');
like($since, qr/^[0-9a-f]{16}\.\d+$/, 'and a token');
is(updates($since)->{status}, 204, 'with it: nothing');
ok(!length(updates($since)->{body} // ''), 'at no cost');

my $card = card('Anna');
($changes, $since) = all_since($since);
is(shown($changes), "account:put:$me->{user_id} card:put:$card",
    'a new card, and the account that has it as its own');
like($changes->[0]{at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'with its time');
is(updates($since)->{status}, 204, 'once');

my $before = $since;
$t->put("/v1/cards/$card", { '@type' => 'Card', version => '1.0',
    name => { full => 'Berta' } }, $token);
($changes, $since) = all_since($since, 'with=objects');
is(shown($changes), "card:put:$card", 'a changed card');
is($changes->[0]{object}{card}{name}{full}, 'Berta', 'as it is now');
is_deeply($changes->[0]{object}, $t->get("/v1/cards/$card", undef,
    $token)->{json}, 'as its own call gives it');

$t->delete("/v1/cards/$card", undef, $token);
($changes, $since) = all_since($since, 'with=objects');
is(shown($changes), "account:put:$me->{user_id} card:delete:$card",
    'a deleted card leaves a tombstone');
ok(!(grep { $_->{kind} eq 'card' && exists $_->{object} } @$changes),
    'and nothing else of it');
is_deeply((grep { $_->{kind} eq 'account' } @$changes)[0]{object},
    $t->get('/v1/me', undef, $token)->{json}, 'the account as its call gives it');

($changes) = all_since($before);
is(shown($changes), "account:put:$me->{user_id} card:delete:$card",
    'an older token: the last change of each object');

my $r = $t->post('/v1/contacts', { own => { '@type' => 'Card',
    version => '1.0', name => { full => 'Carl' } }, note => 'a plumber' },
    $token);
my $contact = $r->{json}{contact_id};
($changes, $since) = all_since($since, 'with=objects');
is(shown($changes), "contact:put:$contact", 'an entry of the address book');
is_deeply($changes->[0]{object}, $t->get("/v1/contacts/$contact", undef,
    $token)->{json}, 'opened and merged, as its own call gives it');
$t->delete("/v1/contacts/$contact", undef, $token);
($changes, $since) = all_since($since, 'with=objects');
is(shown($changes), "contact:delete:$contact", 'and its end');
ok(!exists $changes->[0]{object}, 'without it');

my $second = $t->sign_in('+8613800138000', $me->{initial_password});
$t->wait_for(sub { updates($since)->{status} == 200 });
($changes, $since) = all_since($since, 'with=objects');
is(shown($changes), "terminal:put:$second->{terminal_id}", 'a terminal');
is_deeply($changes->[0]{object},
    (grep { $_->{terminal_id} == $second->{terminal_id} }
        @{ $t->get('/v1/me/terminals', undef, $token)->{json}{items} })[0],
    'as the list has it');
$t->delete("/v1/me/terminals/$second->{terminal_id}", undef, $token);
($changes, $since) = all_since($since);
is(shown($changes), "terminal:delete:$second->{terminal_id}",
    'and its end');

my ($theirs) = all_since(undef, undef, { token => $other->{access_token} });
is(shown($theirs),
    "account:put:$other->{user_id} terminal:put:$other->{terminal_id}",
    'another user sees nothing of it');

# --- what commits late -------------------------------------------------------

my ($early, $late) = (session(), session());
my @tokens;
my %got;

sub collect {
    my ($new) = @_;
    ($new, $since) = all_since($since);
    $got{"$_->{kind}:$_->{id}"}++ for @$new;
    push @tokens, $since;
}

says($early, "begin; select cardx.log_add('$me->{user_id}', 'news', 'first',
    'put')");
says($late, "begin; select cardx.log_add('$me->{user_id}', 'news', 'second',
    'put'); commit");
collect();
is(join(' ', sort keys %got), '', 'what is not decided is not given yet');

says($late, "begin; select cardx.log_add('$me->{user_id}', 'news', 'third',
    'put')");
says($early, 'commit');
$t->wait_for(sub { collect(); $got{'news:second'} }, 5);
is(join(' ', sort keys %got), 'news:first news:second',
    'the earlier one that commits late comes, and the other with it');

says($early, "begin; select cardx.log_add('$me->{user_id}', 'news', 'fourth',
    'put'); rollback");
collect();
says($late, 'commit');
$t->wait_for(sub { collect(); $got{'news:third'} }, 5);
is(join(' ', sort keys %got), 'news:first news:second news:third',
    'none is skipped, and none is made up');
is((grep { $_ != 1 } values %got), 0, 'each comes once');

# two writers of one object: the one that began first ends last
says($early, 'begin; select pg_current_xact_id()');
says($late, "begin; select cardx.log_add('$me->{user_id}', 'news', 'both',
    'put'); commit");
collect();
says($early, "select cardx.log_add('$me->{user_id}', 'news', 'both',
    'delete')");
collect();
is($got{'news:both'} // 0, 0, 'it waits for the one that began first');
says($early, 'commit');
my $last;
$t->wait_for(sub {
    my ($new, $next) = all_since($since);
    $since = $next;
    ($last) = grep { $_->{id} eq 'both' } @$new;
    $last;
}, 5);
is($last->{op}, 'delete', 'and what it said stands');

# many at once, with transactions of all lengths, against a reader
my @pids = map {
    my $writer = $_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my $s = session();
        for my $i (1 .. 25) {
            says($s, 'begin; select pg_current_xact_id()');
            sleep rand 0.02;
            says($s, "select cardx.log_add('$me->{user_id}', 'share',
                'w$writer-$i', 'put')");
            sleep rand 0.02 if $i % 3 == 0;
            says($s, 'commit');
        }
        ended($s);
        POSIX::_exit(0);
    }
    $pid;
} 1 .. 4;

%got = ();
my $running = @pids;
while ($running) {
    collect();
    $running = grep { waitpid($_, POSIX::WNOHANG()) == 0 } @pids;
}
$t->wait_for(sub { collect(); keys %got == 100 }, 5);
is(scalar(grep { /^share:w\d-\d+$/ } keys %got), 100,
    'four writers at once: nothing is skipped');
is((grep { $_ != 1 } values %got), 0, 'and nothing comes twice');
ended($_) for $early, $late;

# --- pages -------------------------------------------------------------------

$t->psql("select cardx.log_add('$me->{user_id}', 'news', 'p' || i, 'put')
    from generate_series(1, 250) i");
$t->psql("select cardx.log_add('$me->{user_id}', 'news', 'q' || i, 'put')
    from generate_series(1, 120) i");
$t->wait_for(sub { updates($since)->{status} == 200 });

my $start = $since;
my (%seen, $pages);
while (1) {
    my $r = updates($since, 'with=objects');
    last if $r->{status} == 204;
    $pages++;
    $seen{ $_->{id} }++ for @{ $r->{json}{changes} };
    $since = $r->{json}{token};
    # what is written in between does not disturb
    $t->psql("select cardx.log_add('$me->{user_id}', 'news', 'p1', 'put')")
        if $pages == 2;
    last unless $r->{json}{more};
}
is($pages, 4, 'a hundred objects a page');
is(scalar(grep { /^[pq]\d+$/ } keys %seen), 370, 'and all of them');
($changes) = all_since($start);
is(scalar @$changes, 370, 'without objects in fewer pages');

my ($everything) = all_since(undef, 'with=objects');
my %kinds;
$kinds{ $_->{kind} }++ for @$everything;
is_deeply(\%kinds, { account => 1, terminal => 1, news => 373, share => 100 },
    'a first reading is paged too, and has no tombstones');

# what changes during a first reading comes after it
$r = updates(undef, 'with=objects');
ok($r->{json}{more}, 'a first reading that is not at its end');
my $gone = (grep { $_->{kind} eq 'news' } @{ $r->{json}{changes} })[0]{id};
$t->psql("select cardx.log_add('$me->{user_id}', 'news', '$gone', 'delete')");
my ($rest, $after) = all_since($r->{json}{token}, 'with=objects');
ok(!(grep { $_->{id} eq $gone } @$rest), 'what went meanwhile is not in it');
my $known = $t->wait_for(sub {
    my ($new) = all_since($after);
    (grep { $_->{id} eq $gone && $_->{op} eq 'delete' } @$new) ? 1 : 0;
}, 5);
ok($known, 'and comes as deleted with the next');

# --- what is no token --------------------------------------------------------

my ($epoch, $xid) = $since =~ /^(\w+)\.(\d+)/;
my $ahead = $xid + 100_000;
for my $bad ("$epoch.$ahead", '0123456789abcdef.5', 'x', '', "$epoch", "$epoch.",
    "$epoch.x", "$epoch.-1", "$epoch.99999999999999999999999", "$epoch.5.news",
    "$epoch.5.news.", "$epoch.5.all.x", "$epoch.5.NEWS.p1", 'a' x 500,
    "$epoch.5%00", "$epoch.5%0d%0aX:y", "$epoch.5'") {
    my $r = updates($bad);
    is($r->{status} . ($r->{json}{code} // ''), '410unknown_token', 'a token that was never given: '
        . substr $bad, 0, 40);
}
for my $query ('with=all', 'with=', 'wait=-1', 'wait=56', 'wait=x', 'wait=1e1') {
    is(updates($since, $query)->{status}, 422, "$query is refused");
}
is($t->get('/v1/updates')->{status}, 401, 'only for who is signed in');

# a restored backup: another database, and files that were put back
$t->psql('create table public.keep as table cardx.user_log');
my $old = $since;
$t->psql("update cardx.log_state set epoch = gen_random_uuid()");
$t->redis('DEL', "cardx:head:{$me->{user_id}}");
is(updates($old)->{status}, 410, 'a token of another epoch');
($changes, $since) = all_since();
isnt($since, $old, 'afresh');
is(updates($since)->{status}, 204, 'and on from there');

# --- heads -------------------------------------------------------------------

my $name = "cardx:head:{$me->{user_id}}";
$t->redis('DEL', $name);
updates($since);
like($t->redis('GET', $name), qr/^[0-9a-f]{16}\.\d+ \d+$/,
    'a worker leaves the head for the edge');
cmp_ok($t->redis('TTL', $name), '>', 0, 'not without end');
card('Doris');
ok(!defined $t->redis('GET', $name)
    || (updates($since)->{status} == 200),
    'a change takes it away before it is answered');
($changes, $since) = all_since($since);
$t->wait_for(sub { $t->psql("select count(*) from cardx.outbox
    where effect = 'wake'") == 0 });
updates($since);
$t->psql("select cardx.log_add('$me->{user_id}', 'news', 'late', 'put')");
ok($t->wait_for(sub { updates($since)->{status} == 200 }, 5),
    'and so does one that nobody was told of');
($changes, $since) = all_since($since);

# a head that was read before a change is not written after it
my $mark = '+0123456789abcdef01';
$t->redis('DEL', $name);
$t->redis('SET', $name, $mark);
$t->psql("select cardx.log_add('$me->{user_id}', 'news', 'later', 'put')");
ok($t->wait_for(sub { ($t->redis('GET', $name) // '') ne $mark }, 5),
    'a mark is taken away by a change');

$t->redis('FLUSHALL');
ok($t->wait_for(sub { updates($since)->{status} == 200 }, 10),
    'an emptied Redis hides nothing');

$t->finish;
done_testing;
