-- Paid orders, pieces and money by day of payment and shop, the last 30 days. A line or stacked bar chart over day.
SELECT day, shop_id, orders, quantity, payment
FROM bi.daily_sales
WHERE day > (now() AT TIME ZONE 'Asia/Shanghai')::date - 30
ORDER BY day, shop_id;
