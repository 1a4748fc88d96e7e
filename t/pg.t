#!/usr/bin/perl

# A connection after a statement that PostgreSQL refused: what was prepared
# before stays prepared, and is not prepared once more.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest;

my $t = CardxTest->new->start_database;

my $output = CardxTest::capture("$t->{build}/tools/pg_try",
    "host=$t->{var}/pgrun user=postgres dbname=cardx");
my ($planned) = $output =~ /^1\.\.(\d+)$/m;
my $passed = () = $output =~ /^ok /mg;

ok($? == 0 && $planned && $passed == $planned, 'after a refusal')
    or diag($output);
unlike($output, qr/alert/, 'nothing that only a bug does');

$t->finish;
done_testing;
