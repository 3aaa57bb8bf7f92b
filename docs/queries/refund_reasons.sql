-- Why money went back, the last 90 days, by month and reason.
SELECT date_trunc('month', modified_at AT TIME ZONE 'Asia/Shanghai')::date AS month, reason, count(*) AS refunds,
       sum(refund_fee) AS money
FROM bi.refunds
WHERE shop_id = 'my-shop' AND status = 'SUCCESS' AND modified_at >= now() - interval '90 days'
GROUP BY 1, 2
ORDER BY 1 DESC, money DESC;
