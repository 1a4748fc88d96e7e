#!/usr/bin/perl
# Each migration deploys, verifies and reverts, and can be deployed again; what
# it leaves behind after a revert is nothing.

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;

my $t = CardxTest->new->start_database;
my $home = $t->var . '/home';
mkdir $home or die "$home: $!";

# sqitch reads no configuration but the project's own.
local $ENV{HOME} = $home;
local $ENV{SQITCH_FULLNAME} = 'cardx';
local $ENV{SQITCH_EMAIL} = 'cardx@example.org';
local $ENV{PGHOST} = $t->var . '/pgrun';
local $ENV{PGUSER} = 'postgres';

sub sqitch {
    my ($command, @rest) = @_;
    my $output = CardxTest::capture('sqitch', '-C',
        "$CardxTest::ROOT/migrations", $command, @rest, 'db:pg:spare');
    return ($? == 0, $output);
}

sub objects {
    return $t->psql(<<'EOT', undef, 'spare');
        select string_agg(name, ' ' order by name) from (
            select relname::text as name from pg_class
            where relnamespace = to_regnamespace('cardx')
            union all
            select proname::text from pg_proc
            where pronamespace = to_regnamespace('cardx')
            union all
            select nspname::text from pg_namespace where nspname = 'cardx'
            union all
            select 'default privileges' from pg_default_acl) o
EOT
}

open my $plan, '<', "$CardxTest::ROOT/migrations/sqitch.plan"
    or die "sqitch.plan: $!";
my @changes = map { /^(\w+) / ? $1 : () } <$plan>;
cmp_ok(scalar @changes, '>', 5, 'the plan has its changes');

$t->psql('create database spare');
is(objects(), '', 'a new database has nothing of ours');

# one by one, so that each revert is of one change alone
my %before;
for my $change (@changes) {
    $before{$change} = objects();
    my ($good, $output) = sqitch('deploy', '--verify', '--to', $change);
    ok($good, "$change deploys, and is verified") or diag($output);
}

my ($good, $output) = sqitch('verify');
ok($good, 'all verify together') or diag($output);
my $whole = objects();

for my $i (reverse 0 .. $#changes) {
    ($good, $output) = sqitch('revert', '-y',
        $i ? ('--to', $changes[ $i - 1 ]) : ());
    ok($good, "$changes[$i] reverts") or diag($output);
    is(objects(), $before{ $changes[$i] }, 'and leaves what was before');
}

($good, $output) = sqitch('deploy', '--verify');
ok($good, 'all deploy again') or diag($output);
is(objects(), $whole, 'to the same');

$t->finish;
done_testing;
