#!/usr/bin/perl

# The schema: its own tests (t/sql, pgTAP), and every statement of the workers
# prepared against it, as the role that runs it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Basename qw(basename dirname);
use Test::More;

use CardxTest;

chdir $CardxTest::ROOT or die "chdir: $!";

my $t = CardxTest->new->start_database;
my @database = ('-h', "$t->{var}/pgrun", '-U', 'postgres', '-d', 'cardx');

for my $file (sort glob 't/sql/*.sql') {
    my $output = CardxTest::capture('psql', '-XAtq', @database, '-f', $file);
    my ($planned) = $output =~ /^1\.\.(\d+)$/m;
    my $passed = () = $output =~ /^ok /mg;
    ok($? == 0 && $planned && $passed == $planned
        && $output !~ /^not ok|ERROR/m, $file) or diag($output);
}

my %role = (api => ['cardx_api'], fanout => ['cardx_fanout'],
    deliver => ['cardx_fanout'], push => ['cardx_fanout'], media => ['cardx_fanout'],
    common => ['cardx_api', 'cardx_fanout'],
    'common/outbox.sql' => ['cardx_fanout']);

for my $file (sort glob 'workers/*/*.sql') {
    my @statements = split /\n/, CardxTest::capture('ci/sql2c', '--list',
        $file);
    is($?, 0, "$file can be read");

    for my $statement (@statements) {
        my ($name, $text) = split /\t/, $statement, 2;
        my ($n) = sort { $b <=> $a } 0, $text =~ /\$(\d+)/g;
        my $arguments = $n ? '(' . join(',', ('null') x $n) . ')' : '';

        # EXPLAIN also looks at what the role may do.
        my $folder = basename(dirname($file));
        my $roles = $role{ "$folder/" . basename($file) } || $role{$folder};
        my @errors;
        for my $role (@$roles) {
            my $output = CardxTest::capture('psql', '-XAtq', '-v',
                'ON_ERROR_STOP=1', @database, '-c', "set role $role",
                '-c', "prepare s as $text", '-c',
                "explain (costs off) execute s$arguments");
            push @errors, "$role: $output" if $?;
        }
        ok(@$roles && !@errors, "$file: $name") or diag(@errors);
    }
}

$t->finish;
done_testing;
