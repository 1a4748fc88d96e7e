#!/usr/bin/perl
# The measurements run, and the page about them has each of their figures.
# How fast anything is, is not looked at.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CardxTest;
use Test::More;

plan skip_all => 'the benches are about what is built without sanitizers'
    if $ENV{CARDX_SANITIZED};

my $text = CardxTest::capture("$CardxTest::ROOT/bench/all", '--quick');
is($?, 0, 'bench/all --quick') or diag($text);

my ($all) = $text =~ /^== all\n(.*)/ms;
my @result = split /\n/, $all // '';
cmp_ok(scalar @result, '>=', 14, 'there are figures');

my $page = do {
    open my $in, '<', "$CardxTest::ROOT/docs/performance.md" or die $!;
    local $/;
    <$in>;
};

for my $line (@result) {
    my ($name) = $line =~ /^RESULT (\w+) \S+ [\d.]+ (?:met|short)$/;
    ok(defined $name, "it can be read by a program: $line") or next;
    like($page, qr/`$name`/, "$name is in docs/performance.md");
}

done_testing;
