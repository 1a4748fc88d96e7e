#!/usr/bin/perl
# A log that was restored: from a dump into another server, which counts its
# transactions from a lower number, and to an earlier time.  Tokens from before
# are answered 410, and everything goes on from there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Path qw(remove_tree);
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;
use CardxTest::Events;

my $t = CardxTest->new(settings => { push_hosts => 'localhost' })->start;
my $conf = "$t->{var}/conf/cardx.conf";
my ($anna, $bela) = map { $t->register("+861380000030$_") } 1, 2;
my %anna = (token => $anna->{access_token});
my %bela = (token => $bela->{access_token});
my $title = 0;
$t->expect_log(qr/the database system|server closed the connection/);
# the workers go on while it is restored, and what they may is restored last
$t->expect_log(qr/permission denied for (?:schema|table)|does not exist/);

sub body { return { '@type' => 'Card', version => '1.0',
    name => { full => "Name $_[0]" } } }

my $card = $t->post('/v1/cards', body(0), \%anna)->{json}{card_id};
my $key = $t->post("/v1/cards/$card/keys", { ttl => 3600 }, \%anna)->{json};
my $contact = $t->post('/v1/contacts', { card_id => $card, key => $key->{key} },
    \%bela)->{json}{contact_id};
quiet();

sub quiet {
    my ($what) = @_;
    my $ok = $t->wait_for(sub { $t->psql("select count(*) from cardx.outbox
        where effect in ('holders', 'wake')") == 0 }, 60);
    ok($ok, $what) if $what;
}

sub updates {
    my ($who, $since, $more) = @_;
    return $t->get('/v1/updates?' . join('&', defined $since ? "since=$since"
        : (), $more // ()), undef, $who);
}

sub everything {
    my ($who) = @_;
    my $r = updates($who);
    my @all = @{ $r->{json}{changes} };
    while ($r->{json}{more}) {
        $r = updates($who, $r->{json}{token});
        push @all, @{ $r->{json}{changes} };
    }
    return ($r->{json}{token}, map { "$_->{kind}:$_->{op}:$_->{id}" } @all);
}

# What holds after a restore: these tokens are of no use, and from a new start
# everything is told, waited for, and answered at the edge again.
sub starts_afresh {
    my ($what, @tokens) = @_;
    my $output = CardxTest::capture("$t->{build}/cardx-fanout", $conf,
        'rebuild');
    is($?, 0, "$what: rebuilt") or diag($output);
    for (@tokens) {
        my $r = updates(\%bela, $_);
        is("$r->{status} " . ($r->{json}{code} // ''), '410 unknown_token',
            "$what: a token from before");
    }
    my $old = CardxTest::Events->open($t, %bela, last => $tokens[0]);
    $old->wait_for(sub { @_ });
    is($old->{events}[0] && $old->{events}[0]{event}, 'reset',
        "$what: its stream starts afresh");
    quiet("$what: nothing is left over");

    my ($since, @all) = everything(\%bela);
    ok((grep { $_ eq "contact:put:$contact" } @all), "$what: everything is there");
    is(updates(\%bela, $since)->{status}, 204, "$what: and then nothing new");
    # the edge looks every 250 ms whether it may believe Redis again
    ok($t->wait_for(sub {
        my $began = time;
        updates(\%bela, $since, 'wait=1')->{status} == 204
            && time - $began > 0.9 }), "$what: waited for");

    my $before = @{ $old->{events} };
    is($t->put("/v1/cards/$card", body(++$title), \%anna)->{status}, 200,
        "$what: a change");
    my $n;
    ok($t->wait_for(sub { updates(\%bela, $since)->{status} == 200 }, 30),
        "$what: is told who asks");
    ok($old->wait_for(sub { grep { $_->{json}{id} eq $contact }
        @_[$before .. $#_] }, 30), "$what: and who listens");
    my $r = updates(\%bela, $since);
    is(join(' ', map { "$_->{kind}:$_->{id}" } @{ $r->{json}{changes} }),
        "contact:$contact", "$what: that, and nothing else");
    my $stream_at = $old->{id};
    is(updates(\%bela, $stream_at)->{status}, 204,
        "$what: the stream's position is a good token");
    $old->close;
    return $r->{json}{token};
}

sub down {
    $t->signal('postgres', 'QUIT');
    $t->wait_for(sub { !$t->alive('postgres') }, 30) or die 'it goes on';
    unlink "$t->{pids}/postgres.pid", "$t->{var}/pg/postmaster.pid";
}

# --- a dump, into a server that is behind ------------------------------------

my ($early) = everything(\%bela);
$t->psql("do \$\$ begin for i in 1 .. 4000 loop
    perform pg_current_xact_id(); commit; end loop; end \$\$");
$t->signal('fanout', 'STOP');
is($t->put("/v1/cards/$card", body(++$title), \%anna)->{status}, 200,
    'a change of which nobody is told yet');
$t->psql("select cardx.log_add('$bela->{user_id}', 'news', 'n' || i, 'put')
    from generate_series(1, 3) i");
$t->psql("do \$\$ begin for i in 1 .. 300 loop perform cardx.log_add(
    '$anna->{user_id}', 'news', 'n' || i, 'put'); commit; end loop; end \$\$");
$t->psql("insert into cardx.fanouts (card_id, generation, after,
    told_holders, told_entries, xid) select object, generation, '~', '{}', '{}',
    pg_current_xact_id() from cardx.outbox where effect = 'holders'");
my ($late) = everything(\%bela);
my $dump = "$t->{var}/dump";
CardxTest::capture('pg_dump', '-Fc', '-h', "$t->{var}/pgrun", '-U', 'postgres',
    '-f', $dump, 'cardx');
is($?, 0, 'dumped');
my $xid = $t->psql('select pg_current_xact_id()');

down();
rename "$t->{var}/pg", "$t->{var}/pg.old" or die "pg: $!";
$t->start;
cmp_ok($t->psql('select pg_current_xact_id()'), '<', $xid,
    'another server, which has not come so far');
$t->psql('drop database cardx with (force)', undef, 'postgres');
$t->psql('create database cardx', undef, 'postgres');
my $output = CardxTest::capture('pg_restore', '-h', "$t->{var}/pgrun", '-U',
    'postgres', '-d', 'cardx', $dump);
is($?, 0, 'restored') or diag($output);
$t->signal('fanout', 'CONT');
$t->wait_for(sub { $t->ops('GET', '/healthz')->{status} == 200 }, 30);
my $next = starts_afresh('a dump', $early, $late);

# --- an earlier time ---------------------------------------------------------

down();
CardxTest::capture('cp', '-a', "$t->{var}/pg", "$t->{var}/pg.backup");
is($?, 0, 'a backup');
$t->start;
is($t->put("/v1/cards/$card", body(++$title), \%anna)->{status}, 200,
    'what is changed after it');
$t->wait_for(sub { updates(\%bela, $next)->{status} == 200 }, 30);
my ($lost) = everything(\%bela);
down();
remove_tree("$t->{var}/pg");
rename "$t->{var}/pg.backup", "$t->{var}/pg" or die "pg.backup: $!";
open my $signal, '>', "$t->{var}/pg/recovery.signal" or die "recovery: $!";
close $signal;
open my $auto, '>>', "$t->{var}/pg/postgresql.auto.conf" or die "conf: $!";
print $auto "restore_command = 'false'\n";
close $auto;
$t->start;
$t->wait_for(sub { $t->psql('select pg_is_in_recovery()') eq 'f' }, 30);
is($t->get("/v1/cards/$card", undef, \%anna)->{json}{card}{name}{full},
    'Name ' . ($title - 1), 'is taken back');
starts_afresh('an earlier time', $next, $lost);

$t->finish;
done_testing;
